//! Why an operation ended, beside the specification's three results.

use crate::{ReceiveResult, SendResult};
use std::fmt;
use std::io;

/// Why an operation ended.
///
/// A completion's `result` follows from it. [`Completed`](Self::Completed) is `Ok`. The ends that belong to the life of
/// a connection (finished, reset, closed, cancelled, broken) are `Abandoned`, and all other ends are `Error`.
///
/// ```
/// use async_socket_api::{EndReason, ReceiveCompletion};
///
/// let ended = ReceiveCompletion::new(EndReason::PeerFinished, 0, vec![0; 64]);
/// match ended.reason {
///     EndReason::PeerFinished => {} // answer, then close
///     EndReason::TimedOut => {}     // cut the peer off
///     other => println!("the connection is lost: {other}"),
/// }
/// assert_eq!(ended.io_result()?, 0);
/// # Ok::<_, std::io::Error>(())
/// ```
// Codes_SRS_SOCKET_01_060
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// It succeeded.
    Completed,
    /// The peer sends no more: the orderly end of the stream. For receives.
    PeerFinished,
    /// The peer reset the connection (`ECONNRESET`).
    PeerReset,
    /// The program closed the socket.
    Closed,
    /// The program cancelled the operation. The socket is as open as before.
    Cancelled,
    /// The operation had a time-out or a deadline of the program, and did not end before.
    /// A connection that the kernel gives up is [`Os`](Self::Os) with `ETIMEDOUT`.
    TimedOut,
    /// An earlier send broke off in the middle of its payload. For sends that waited behind it.
    StreamBroken,
    /// A lent buffer showed another length than when the call checked it.
    BuffersChanged,
    /// A lent buffer panicked.
    BufferPanicked,
    /// The kernel reported an error or a hang-up without an `errno`.
    HungUp,
    /// The kernel reported this `errno`.
    Os(i32),
}

/// Linux's number for a connection that the peer has reset.
const ECONNRESET: i32 = match () {
    () if cfg!(any(
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "mips32r6",
        target_arch = "mips64r6"
    )) =>
    {
        131
    }
    () if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) => 54,
    () => 104,
};

impl EndReason {
    /// The reason that an `errno` stands for.
    #[must_use]
    pub const fn of_os_error(os_error: i32) -> Self {
        if os_error == ECONNRESET { Self::PeerReset } else { Self::Os(os_error) }
    }

    /// The `errno`, if the kernel gave one.
    #[must_use]
    pub const fn os_error(self) -> Option<i32> {
        match self {
            Self::PeerReset => Some(ECONNRESET),
            Self::Os(os_error) => Some(os_error),
            _ => None,
        }
    }

    /// The specification's result of a send that ended so.
    // Codes_SRS_SOCKET_01_061
    #[must_use]
    pub const fn send_result(self) -> SendResult {
        match self {
            Self::Completed => SendResult::Ok,
            reason if reason.is_abandoned() => SendResult::Abandoned,
            _ => SendResult::Error,
        }
    }

    /// The specification's result of a receive that ended so.
    // Codes_SRS_SOCKET_01_061
    #[must_use]
    pub const fn receive_result(self) -> ReceiveResult {
        match self {
            Self::Completed => ReceiveResult::Ok,
            reason if reason.is_abandoned() => ReceiveResult::Abandoned,
            _ => ReceiveResult::Error,
        }
    }

    const fn is_abandoned(self) -> bool {
        matches!(self, Self::PeerFinished | Self::PeerReset | Self::Closed | Self::Cancelled | Self::StreamBroken)
    }

    /// The reason as an error of `std::io`: the `errno` if there is one. Otherwise it is
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the peer finished,
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the socket was closed,
    /// [`TimedOut`](io::ErrorKind::TimedOut), [`BrokenPipe`](io::ErrorKind::BrokenPipe) for a broken stream, and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for buffers that changed. The rest, which includes a cancelled
    /// operation, is [`Other`](io::ErrorKind::Other) with this reason as the inner error.
    ///
    /// # Errors
    /// For every reason other than [`Completed`](Self::Completed).
    // Codes_SRS_LENT_BUFFERS_01_008
    pub fn io_result(self) -> io::Result<()> {
        let kind = match self {
            Self::Completed => return Ok(()),
            Self::PeerFinished => io::ErrorKind::UnexpectedEof,
            Self::Closed => io::ErrorKind::ConnectionAborted,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::StreamBroken => io::ErrorKind::BrokenPipe,
            Self::BuffersChanged => io::ErrorKind::InvalidInput,
            other => {
                return Err(other.os_error().map_or_else(|| io::Error::other(other), io::Error::from_raw_os_error));
            }
        };
        Err(kind.into())
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::PeerFinished => "the peer sends no more",
            Self::PeerReset => "the peer reset the connection",
            Self::Closed => "the socket was closed",
            Self::Cancelled => "the operation was cancelled",
            Self::TimedOut => "the operation timed out",
            Self::StreamBroken => "an earlier send broke off in the middle of its payload",
            Self::BuffersChanged => "a lent buffer changed its length",
            Self::BufferPanicked => "a lent buffer panicked",
            Self::HungUp => "the connection is gone",
            Self::Os(os_error) => return write!(f, "os error {os_error}"),
        })
    }
}

impl std::error::Error for EndReason {}
