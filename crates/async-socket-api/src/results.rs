//! What call-backs get, and the specification's result enums.
//!
//! The values are the C ABI's: 0 is never a result, so a zeroed C variable is recognisably none.

use std::fmt;

/// The states of a socket.
///
/// `Closed → Opening → Open → Closing → Closed`; after a close the descriptor is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SocketState {
    /// Not opened yet, or closed for good.
    Closed,
    /// `open_async` is at work.
    Opening,
    /// Sends and receives are accepted.
    Open,
    /// `close` is at work.
    Closing,
}

impl fmt::Display for SocketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "CLOSED",
            Self::Opening => "OPENING",
            Self::Open => "OPEN",
            Self::Closing => "CLOSING",
        })
    }
}

/// How an open ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OpenResult {
    /// The socket is open.
    Ok = 1,
    /// The socket could not be opened.
    Error = 2,
}

/// What `send_async` itself says, as the specification names it; see [`SendError::sync_result`](crate::SendError::sync_result).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SendSyncResult {
    /// Accepted: the call-back runs exactly once.
    Ok = 1,
    /// Refused: the call-back never runs.
    Error = 2,
    /// Refused because the socket is not open or the connection is gone: the call-back never runs.
    Abandoned = 3,
}

/// How an accepted send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SendResult {
    /// Every byte was handed to the kernel.
    Ok = 1,
    /// The kernel reported an error.
    Error = 2,
    /// The socket was closed or the connection reset before the send was done.
    Abandoned = 3,
}

/// How an accepted receive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ReceiveResult {
    /// At least one byte arrived.
    Ok = 1,
    /// The kernel reported an error.
    Error = 2,
    /// The peer finished or reset the connection, or the socket was closed.
    Abandoned = 3,
}

/// What a send's call-back gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct SendCompletion<B> {
    /// How it ended.
    pub result: SendResult,
    /// The `errno` behind a result other than [`SendResult::Ok`], if a system call gave one.
    pub os_error: Option<i32>,
    /// How many bytes the kernel took before the end: all of them with [`SendResult::Ok`].
    pub bytes_sent: u32,
    /// What was lent.
    pub buffers: B,
}

impl<B> SendCompletion<B> {
    /// For implementers of [`AsyncSocket`](crate::AsyncSocket).
    #[must_use]
    pub fn new(result: SendResult, os_error: Option<i32>, bytes_sent: u32, buffers: B) -> Self {
        Self { result, os_error, bytes_sent, buffers }
    }
}

/// What a receive's call-back gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceiveCompletion<B> {
    /// How it ended.
    pub result: ReceiveResult,
    /// The `errno` behind a result other than [`ReceiveResult::Ok`], if a system call gave one;
    /// an orderly end of the stream has none.
    pub os_error: Option<i32>,
    /// How many bytes were filled, from the front of the first buffer on; 0 unless
    /// [`ReceiveResult::Ok`].
    pub bytes_received: u32,
    /// What was lent.
    pub buffers: B,
}

impl<B> ReceiveCompletion<B> {
    /// For implementers of [`AsyncSocket`](crate::AsyncSocket).
    #[must_use]
    pub fn new(result: ReceiveResult, os_error: Option<i32>, bytes_received: u32, buffers: B) -> Self {
        Self { result, os_error, bytes_received, buffers }
    }
}
