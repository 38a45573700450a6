//! Why a connection was not accepted, and why a listener could not be made.

use crate::options::OptionError;
use crate::sys::Errno;
use async_socket_linux::UnsupportedKind;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// Why there is no new connection. Only [`Lost`](Self::Lost) ends the listener.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// One client's connection broke before it was accepted, with `ECONNABORTED` for instance. The next one is accepted as
    /// usual.
    #[error("a client's connection broke before it was accepted")]
    Client {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused an option of one accepted socket, which was closed. The next one is accepted as usual.
    #[error("an accepted socket was closed because its options could not be set")]
    Options {
        /// The client, if it is none of a Unix socket.
        peer: Option<SocketAddr>,
        /// Which option, and what the kernel said.
        source: OptionError,
    },
    /// The process or the system has no descriptor (`EMFILE`, `ENFILE`) or no memory (`ENOBUFS`, `ENOMEM`) left, or `accept`
    /// fails for an unknown reason. Clients wait in the backlog. The listener goes on after the pause, or at
    /// [`Listener::resume`](crate::Listener::resume).
    #[error("no connection can be accepted for {} ms", pause.as_millis())]
    Paused {
        /// What the kernel said.
        source: io::Error,
        /// How long the listener pauses.
        pause: Duration,
    },
    /// The listener accepts no more connections, because other code has closed or shut down its descriptor, or the port has
    /// failed.
    #[error("the listener accepts no more connections")]
    Lost {
        /// What the kernel said.
        source: io::Error,
    },
}

/// What an error of `accept4` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NothingThere,
    OfOneClient,
    OfTheMoment,
    OfTheListener,
}

impl Failure {
    /// The errors of one client are those that accept(2) names in its section "Error handling", and `ECONNABORTED`.
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::NothingThere,
            // Codes_SRS_ASYNC_SOCKET_NET_01_009
            Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH => Self::OfOneClient,
            // Codes_SRS_ASYNC_SOCKET_NET_01_015
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK => Self::OfTheListener,
            // Codes_SRS_ASYNC_SOCKET_NET_01_010
            _ => Self::OfTheMoment,
        }
    }
}

/// Why a listener could not be made. The descriptor and the callback are dropped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The descriptor is closed, or is no socket.
    #[error("the descriptor is not a usable socket")]
    NotASocket {
        /// `EBADF` or `ENOTSOCK`, usually.
        source: io::Error,
    },
    /// `listen(2)` was not called on the socket.
    #[error("the socket does not listen: call listen first")]
    NotListening,
    /// Only stream sockets can be listened on.
    #[error("the socket is {0}, not a stream socket")]
    UnsupportedKind(UnsupportedKind),
    /// Only IPv4, IPv6 and Unix sockets can be listened on.
    #[error("the socket is neither IPv4, IPv6 nor Unix")]
    UnsupportedFamily,
    /// The completion port could not watch the descriptor.
    #[error("the completion port refused the listener")]
    Port {
        /// `ENOMEM` or `ENOSPC`, usually, or [`Inherited`](completion_port::process::Inherited).
        source: io::Error,
    },
    /// A listening socket could not be made.
    #[error("{call} failed for {address}")]
    Kernel {
        /// `socket`, `setsockopt`, `bind`, `listen` or `getsockname`.
        call: &'static str,
        /// Where to listen.
        address: SocketAddr,
        /// What the kernel said: `EADDRINUSE` for instance.
        source: io::Error,
    },
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::NotASocket { source } | ListenError::Port { source } | ListenError::Kernel { source, .. } => {
                source.kind()
            }
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl From<AcceptError> for io::Error {
    fn from(error: AcceptError) -> Self {
        let kind = match &error {
            AcceptError::Client { source } | AcceptError::Paused { source, .. } | AcceptError::Lost { source } => {
                source.kind()
            }
            AcceptError::Options { source, .. } => source.source.kind(),
        };
        Self::new(kind, error)
    }
}
