//! Making a connection.

use crate::io::Tried;
use crate::stream::Stream;
use completion_port::Direction;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, socket_with};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;

impl Stream {
    /// Connects to a Unix path.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub async fn connect_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path.as_ref())?;
        Self::connect_any(AddressFamily::UNIX, &address).await
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// Those of `connect(2)`: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, for instance.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        Self::connect_any(family, &address).await
    }

    async fn connect_any(family: AddressFamily, address: &impl SocketAddrArg) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, address) {
            Ok(()) => return Self::new(socket),
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = Self::new(socket)?;
        poll_fn(|context| stream.io.poll(context, Direction::Out, connected)).await?;
        Ok(stream)
    }
}

/// Whether a connect has ended. `EAGAIN` while it is in progress.
fn connected(fd: BorrowedFd<'_>) -> rustix::io::Result<Tried<()>> {
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_033
    socket_error(fd)??;
    match getpeername(fd) {
        Ok(_) => Ok(Tried { value: (), drained: false }),
        // There is neither an error nor a peer.
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_033
        Err(Errno::NOTCONN) => Err(Errno::AGAIN),
        Err(error) => Err(error),
    }
}
