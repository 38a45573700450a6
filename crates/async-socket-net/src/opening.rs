//! From a connected descriptor to an open socket.

use async_socket_linux::{AsyncSocketLinux, SetUpError};
use completion_port::Port;
use std::os::fd::OwnedFd;

/// If it fails, the descriptor is closed.
pub(crate) fn open_socket<P: Port>(port: P, descriptor: OwnedFd) -> Result<AsyncSocketLinux<P>, SetUpError> {
    AsyncSocketLinux::open_connected_with(port, async_socket_linux::Kernel, descriptor).map_err(|refused| refused.error)
}
