//! Why a call was refused. A refused call changed nothing, and its callback never runs.

use crate::{PayloadError, SendSyncResult, SliceError, SocketState};
use std::fmt;
use std::io;
use thiserror::Error;

/// A refused call: the reason, and the values that the caller had handed over.
///
/// It is an error, so `?` passes it on together with `returned`. A conversion into [`io::Error`] keeps only the reason
/// and drops `returned`. A descriptor in it is thereby closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused<T, E> {
    /// Why.
    pub error: E,
    /// What was handed over, untouched: the buffers, or the descriptor.
    pub returned: T,
}

impl<T, E> Refused<T, E> {
    /// The same refusal with another error type.
    pub fn map_error<F>(self, convert: impl FnOnce(E) -> F) -> Refused<T, F> {
        Refused { error: convert(self.error), returned: self.returned }
    }
}

// By hand, so that the buffers need no `Debug` and a payload is never printed.
impl<T, E: fmt::Debug> fmt::Debug for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

// Codes_SRS_LENT_BUFFERS_01_010
impl<T, E: fmt::Display> fmt::Display for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

// Codes_SRS_LENT_BUFFERS_01_010
impl<T, E: std::error::Error> std::error::Error for Refused<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Why a socket could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The socket is open, opening or closing.
    #[error("the socket is {state}, only a CLOSED one can be opened")]
    NotClosed {
        /// The state it is in.
        state: SocketState,
    },
    /// The socket, or the engine that it lives on, was made before `fork`, in a parent of this process.
    #[error("the socket was made before fork, in the parent process: make a new one in this process")]
    Inherited,
    /// The socket was closed, and its descriptor with it.
    #[error("the socket was closed, its descriptor is gone")]
    DescriptorClosed,
    /// The descriptor is closed, or is no socket.
    #[error("descriptor {descriptor} is not a usable socket")]
    NotASocket {
        /// The descriptor's number.
        descriptor: i32,
        /// What the kernel said: `EBADF` or `ENOTSOCK`, usually.
        source: io::Error,
    },
    /// The descriptor is a socket, but not a connected stream: see [`UnsupportedKind`]. The socket still owns it.
    #[error(
        "descriptor {descriptor} is {kind}; only a stream socket that is connected, or being connected, can be opened"
    )]
    UnsupportedKind {
        /// The descriptor's number.
        descriptor: i32,
        /// What it is instead.
        kind: UnsupportedKind,
    },
    /// The completion port could not watch the descriptor. The socket still owns it, and the open may be tried again.
    #[error("descriptor {descriptor} could not be added to the completion port")]
    NotRegistered {
        /// The descriptor's number.
        descriptor: i32,
        /// What the kernel said: `ENOMEM` or `ENOSPC`, usually.
        source: io::Error,
    },
}

/// The kinds of socket that cannot be opened.
///
/// An asynchronous socket carries a stream of bytes. On a socket with messages a receive could not tell an empty
/// message from the end of the stream, and would lose the end of a message that does not fit into its buffer. A
/// listening socket never has bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnsupportedKind {
    /// `SOCK_DGRAM`: UDP, or Unix datagrams.
    Datagram,
    /// `SOCK_SEQPACKET`
    SequencedPackets,
    /// `SOCK_RAW`
    Raw,
    /// `SOCK_RDM`
    ReliableDatagram,
    /// A socket that listens for connections.
    Listening,
    /// Another type than `SOCK_STREAM`.
    Other,
}

impl fmt::Display for UnsupportedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Datagram => "a datagram socket",
            Self::SequencedPackets => "a socket of sequenced packets",
            Self::Raw => "a raw socket",
            Self::ReliableDatagram => "a socket of reliable datagrams",
            Self::Listening => "a listening socket",
            Self::Other => "a socket of a type without a stream",
        })
    }
}

/// Why a send was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The buffers are not acceptable.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The socket is not open.
    #[error("the socket is {state}, not OPEN")]
    NotOpen {
        /// The state it is in.
        state: SocketState,
    },
    /// The connection is gone: `ECONNRESET`, `ENOTCONN` or `EPIPE`.
    #[error("the connection is gone after {bytes_sent} bytes (os error {os_error})")]
    Disconnected {
        /// The `errno`.
        os_error: i32,
        /// How many bytes of this payload the kernel had taken.
        bytes_sent: u32,
    },
    /// An earlier send failed in the middle of its payload, so anything sent now would follow a gap.
    #[error("an earlier send broke off in the middle of its payload")]
    StreamBroken,
    /// The program has shut down the sending half, or is about to, behind the sends that wait.
    #[error("the sending half is shut down")]
    ShutDown,
    /// So many bytes wait already that the socket's high-water mark is reached: the peer is too slow, or gone.
    #[error("{queued_bytes} bytes are queued already, which is the high-water mark or more")]
    TooMuchQueued {
        /// How many bytes wait.
        queued_bytes: usize,
    },
    /// The kernel refused for any other reason.
    #[error("the send failed after {bytes_sent} bytes (os error {os_error})")]
    Os {
        /// The `errno`.
        os_error: i32,
        /// How many bytes of this payload the kernel had taken.
        bytes_sent: u32,
    },
    /// A buffer showed another number of bytes than when the call checked it. If a part had gone out, the stream is
    /// broken.
    #[error("a buffer changed its length while it was sent, after {bytes_sent} bytes")]
    BuffersChanged {
        /// How many bytes the kernel had taken.
        bytes_sent: u32,
    },
    /// There is no memory to queue the operation.
    #[error("no memory to queue the send after {bytes_sent} bytes")]
    OutOfMemory {
        /// How many bytes of this payload the kernel had taken.
        bytes_sent: u32,
    },
    /// The socket was made before `fork`, in a parent of this process.
    #[error("the socket was made before fork, in the parent process: make a new one in this process")]
    Inherited,
    /// Other code has closed the epoll instance or the eventfd of the completion port, for instance with `closefrom`.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
}

impl SendError {
    /// The specification's name for this refusal: never [`SendSyncResult::Ok`].
    #[must_use]
    pub fn sync_result(&self) -> SendSyncResult {
        match self {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_051, Codes_SRS_ASYNC_SOCKET_LINUX_11_059
            Self::NotOpen { .. } | Self::Disconnected { .. } | Self::StreamBroken | Self::ShutDown => {
                SendSyncResult::Abandoned
            }
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_060, Codes_SRS_ASYNC_SOCKET_LINUX_11_063
            Self::Payload(_)
            | Self::TooMuchQueued { .. }
            | Self::Os { .. }
            | Self::BuffersChanged { .. }
            | Self::OutOfMemory { .. }
            | Self::Inherited
            | Self::PortFailed => SendSyncResult::Error,
        }
    }
}

/// Why a receive was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The buffers are not acceptable.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The socket is not open.
    #[error("the socket is {state}, not OPEN")]
    NotOpen {
        /// The state it is in.
        state: SocketState,
    },
    /// There is no memory to queue the operation.
    #[error("no memory to queue the receive")]
    OutOfMemory,
    /// The kernel refused to watch the socket: `ENOMEM`, `ENOSPC`, see `epoll_ctl(2)`. This happens only on a socket that a
    /// connector has made, before an operation has succeeded. Each operation tries again.
    #[error("the socket cannot be watched (os error {os_error})")]
    Os {
        /// The `errno`.
        os_error: i32,
    },
    /// The socket was made before `fork`, in a parent of this process.
    #[error("the socket was made before fork, in the parent process: make a new one in this process")]
    Inherited,
    /// Other code has closed the epoll instance or the eventfd of the completion port, for instance with `closefrom`.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
}

// Codes_SRS_LENT_BUFFERS_01_010
impl<T, E: Into<io::Error>> From<Refused<T, E>> for io::Error {
    fn from(refused: Refused<T, E>) -> Self {
        refused.error.into()
    }
}

/// [`InvalidInput`](io::ErrorKind::InvalidInput), or [`OutOfMemory`](io::ErrorKind::OutOfMemory).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<PayloadError> for io::Error {
    fn from(error: PayloadError) -> Self {
        match error {
            // Leaves out the error itself, because that would need memory.
            PayloadError::OutOfMemory { .. } => io::ErrorKind::OutOfMemory.into(),
            error => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

/// [`InvalidInput`](io::ErrorKind::InvalidInput).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<SliceError> for io::Error {
    fn from(error: SliceError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The kernel's error with its `errno`, if there is one. Otherwise [`NotConnected`](io::ErrorKind::NotConnected) for a
/// socket that was closed, [`InvalidInput`](io::ErrorKind::InvalidInput) for one that is open already,
/// [`Unsupported`](io::ErrorKind::Unsupported) for one that is no stream, and [`Other`](io::ErrorKind::Other) for the
/// rest.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotASocket { source, .. } | OpenError::NotRegistered { source, .. } => source,
            error => {
                let kind = match error {
                    OpenError::DescriptorClosed => io::ErrorKind::NotConnected,
                    OpenError::NotClosed { .. } => io::ErrorKind::InvalidInput,
                    OpenError::UnsupportedKind { .. } => io::ErrorKind::Unsupported,
                    _ => io::ErrorKind::Other,
                };
                Self::new(kind, error)
            }
        }
    }
}

/// The `errno`, if there is one. Otherwise [`NotConnected`](io::ErrorKind::NotConnected) for a socket that is not open,
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe) after an earlier send broke off or a shutdown,
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if too much is queued, and
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for buffers that changed. A [`PayloadError`] converts as it does
/// alone. The rest becomes [`Other`](io::ErrorKind::Other). The number of bytes that went out is lost.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Payload(error) => error.into(),
            SendError::Disconnected { os_error, .. } | SendError::Os { os_error, .. } => {
                Self::from_raw_os_error(os_error)
            }
            SendError::OutOfMemory { .. } => io::ErrorKind::OutOfMemory.into(),
            error => {
                let kind = match error {
                    SendError::NotOpen { .. } => io::ErrorKind::NotConnected,
                    SendError::StreamBroken | SendError::ShutDown => io::ErrorKind::BrokenPipe,
                    SendError::TooMuchQueued { .. } => io::ErrorKind::WouldBlock,
                    SendError::BuffersChanged { .. } => io::ErrorKind::InvalidInput,
                    _ => io::ErrorKind::Other,
                };
                Self::new(kind, error)
            }
        }
    }
}

/// As for [`SendError`].
// Codes_SRS_LENT_BUFFERS_01_009
impl From<ReceiveError> for io::Error {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Payload(error) => error.into(),
            ReceiveError::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            ReceiveError::Os { os_error } => Self::from_raw_os_error(os_error),
            error => {
                let is_not_open = matches!(error, ReceiveError::NotOpen { .. });
                Self::new(if is_not_open { io::ErrorKind::NotConnected } else { io::ErrorKind::Other }, error)
            }
        }
    }
}
