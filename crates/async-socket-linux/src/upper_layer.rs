//! Whether a TCP socket has an upper layer protocol, kernel TLS for instance.
//!
//! It has `unsafe` code, because no safe interface to `TCP_ULP` exists.
#![allow(unsafe_code, reason = "getsockopt(TCP_ULP) has no safe interface")]

use rustix::io::Errno;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `getsockopt(TCP_ULP)` of a TCP socket. A kernel without upper layers has none on any socket.
pub(crate) fn has_upper_layer(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut name = [0_u8; 16];
    let mut length = size_of_val(&name) as libc::socklen_t;
    // SAFETY: `name` is valid for writes of `length` bytes, and the descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_ULP, name.as_mut_ptr().cast(), &raw mut length)
    };
    match result {
        0 => Ok(length > 0),
        _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::NOPROTOOPT) | None => Ok(false),
            Some(errno) => Err(errno),
        },
    }
}
