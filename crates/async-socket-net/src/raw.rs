//! Two answers of the kernel that rustix does not pass on as they are: this is the one module with `unsafe` code.
//!
//! * The credentials of a peer in another pid namespace: its process number is 0, which `UCred` cannot hold.
//! * The address of a peer that is bound to a path of 108 bytes, which is not terminated: the conversion to `SocketAddrUnix`
//!   panics.
#![allow(unsafe_code, reason = "calls getsockopt, and reads a socket address as bytes")]

use rustix::io::Errno;
use rustix::net::SocketAddrAny;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::slice;

/// The peer of a Unix socket as it was when it called `connect(2)` or `listen(2)`: `SO_PEERCRED`, see `unix(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The process. `None` if it is not visible in our pid namespace.
    pub process: Option<u32>,
    /// The effective user.
    pub user: u32,
    /// The effective group.
    pub group: u32,
}

pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `peer`, which has that size.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, peer.as_mut_ptr().cast(), &raw mut length)
    };
    if result != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: three integers, zeroed before the call.
    let peer = unsafe { peer.assume_init() };
    let process = u32::try_from(peer.pid).ok().filter(|pid| *pid != 0);
    Ok(Credentials { process, user: peer.uid, group: peer.gid })
}

/// A socket address as the kernel wrote it, the family's number included.
pub(crate) fn bytes_of(address: &SocketAddrAny) -> &[u8] {
    let length = usize::try_from(address.addr_len()).unwrap_or_default();
    // SAFETY: `SocketAddrAny` says that its first `addr_len` bytes are initialised, and the result borrows from it.
    unsafe { slice::from_raw_parts(address.as_ptr().cast(), length) }
}
