//! Who is at the other end of a Unix socket.
//!
//! It has `unsafe` code because rustix's `UCred` cannot hold a process number of 0, which the kernel reports for a peer in
//! another pid namespace.
#![allow(unsafe_code, reason = "calls getsockopt")]

use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

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
