//! From a connected descriptor to an open socket.

use async_socket_linux::{AsyncSocket as _, AsyncSocketLinux, CreateError, OpenError};
use completion_port::Port;
use std::os::fd::OwnedFd;
use thiserror::Error;

/// Why a connected descriptor did not become an open socket. The descriptor is closed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotOpened {
    /// The socket could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The port could not watch it.
    #[error(transparent)]
    Open(#[from] OpenError),
}

pub(crate) fn open_socket<P: Port>(port: P, descriptor: OwnedFd) -> Result<AsyncSocketLinux<P>, NotOpened> {
    let socket = AsyncSocketLinux::try_create_with(port, async_socket_linux::Kernel, descriptor)
        .map_err(|refused| NotOpened::Create(refused.error))?;
    socket.open_async(|_| ())?;
    Ok(socket)
}
