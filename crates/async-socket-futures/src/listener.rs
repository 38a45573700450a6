//! Listeners: sockets that give streams.

use crate::io::{Io, Tried, current_port};
use crate::stream::Stream;
use completion_port::{CompletionPort, Direction};
use futures_core::Stream as Incoming;
use rustix::net::{SocketFlags, accept_with, getsockname};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A listening TCP or Unix socket. Streams that it gives belong to the port of the task that accepts them.
#[derive(Debug)]
pub struct Listener {
    io: Io,
}

impl Listener {
    /// Makes a listener of a socket on which `listen(2)` was called. Sets the descriptor to non-blocking mode.
    ///
    /// # Errors
    /// The kernel's. The descriptor is then closed.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::on(&current_port()?, socket)
    }

    /// [`new`](Self::new) on a chosen port.
    ///
    /// # Errors
    /// As for `new`.
    pub fn on(port: &CompletionPort, socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self { io: Io::on(port.clone(), socket.into())? })
    }

    /// Listens on an address.
    ///
    /// # Errors
    /// As for `TcpListener::bind`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpListener::bind(address)?)
    }

    /// Accepts a connection. Errors of a single client, for instance one that is gone already, are skipped. Dropping the
    /// future loses no connection.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM`. The connection then waits, and a later call may succeed, so wait a little
    /// before it.
    pub async fn accept(&self) -> io::Result<Stream> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    /// [`accept`](Self::accept) for code that polls.
    ///
    /// # Errors
    /// As for `accept`.
    pub fn poll_accept(&self, context: &Context<'_>) -> Poll<io::Result<Stream>> {
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        loop {
            let accepted = self.io.poll(context, Direction::In, |fd| match accept_with(fd, FLAGS) {
                // Codes_SRS_ASYNC_SOCKET_FUTURES_01_041
                Err(error) if is_of_one_client(error) => Ok(Tried { value: None, drained: false }),
                accepted => accepted.map(|socket| Tried { value: Some(socket), drained: false }),
            });
            // Codes_SRS_ASYNC_SOCKET_FUTURES_01_040
            if let Some(socket) = ready!(accepted)? {
                return Poll::Ready(Stream::new(socket));
            }
        }
    }

    /// The connections as a `Stream` of the futures crates. It never ends.
    pub fn incoming(&self) -> impl Incoming<Item = io::Result<Stream>> + '_ {
        Connections(self)
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// Those of `getsockname(2)`. `InvalidInput` for a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(getsockname(&self.io)?)?)
    }

    /// Takes the descriptor back, which stays in non-blocking mode.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.io.into_descriptor()
    }
}

/// The errors that `accept(2)` passes on from a new connection.
fn is_of_one_client(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Self> {
        Self::new(listener)
    }
}

impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Self> {
        Self::new(listener)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

struct Connections<'a>(&'a Listener);

impl Incoming for Connections<'_> {
    type Item = io::Result<Stream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(context).map(Some)
    }
}
