//! From a connected descriptor to an open socket.

use crate::address::Family;
use async_socket_linux::{AsyncSocketLinux, FreshStream, Kernel, SetUpError};
use completion_port::Port;
use std::os::fd::OwnedFd;

/// If it fails, the descriptor is closed.
pub(crate) fn open_socket<P: Port>(port: P, descriptor: OwnedFd) -> Result<AsyncSocketLinux<P>, SetUpError> {
    AsyncSocketLinux::open_connected_with(port, Kernel, descriptor).map_err(|refused| refused.error)
}

/// The same for a descriptor that the program has never had.
pub(crate) fn open_fresh_socket<P: Port>(
    port: P,
    descriptor: OwnedFd,
    family: Family,
) -> Result<AsyncSocketLinux<P>, SetUpError> {
    let stream = match family {
        Family::V4 | Family::V6 => FreshStream::Tcp,
        // A short read may end before a passed descriptor. The connector has made the socket, so it need not ask.
        // Codes_SRS_ASYNC_SOCKET_NET_01_054
        Family::Unix => FreshStream::Unix,
    };
    AsyncSocketLinux::open_fresh_with(port, Kernel, descriptor, stream).map_err(|refused| refused.error)
}
