//! The values that callbacks get, and the specification's result enums.
//!
//! The values are those of the C ABI. 0 is never a result, so that a zeroed C variable is not mistaken for one.

use crate::{EndReason, IoBuf, IoBufMut, IoBufs, Slice};
use std::fmt;
use std::io;

/// The states of a socket.
///
/// `Closed → Opening → Open → Closing → Closed`. After a close the descriptor is gone.
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

/// The result of the call of `send_async` itself, with the specification's names; see
/// [`SendError::sync_result`](crate::SendError::sync_result).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SendSyncResult {
    /// Accepted: the callback runs exactly once.
    Ok = 1,
    /// Refused: the callback never runs.
    Error = 2,
    /// Refused because the socket is not open or the connection is gone: the callback never runs.
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

/// The outcome of [`AsyncSocket::cancel`](crate::AsyncSocket::cancel).
// Codes_SRS_SOCKET_01_090
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "only a cancelled operation has ended"]
pub enum Cancel {
    /// The operation has ended as [`EndReason::Cancelled`], and its callback has run inside the call.
    Cancelled,
    /// Nothing happened, because the operation has ended, or is ending at this moment.
    NotWaiting,
    /// Nothing happened, because bytes of the send have gone out. Without the rest, the peer would see a gap.
    Started,
}

/// What a send's callback gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct SendCompletion<B> {
    /// How it ended.
    pub result: SendResult,
    /// Why it ended so.
    pub reason: EndReason,
    /// How many bytes the kernel took before the end: all of them with [`SendResult::Ok`].
    pub bytes_sent: u32,
    /// What was lent.
    pub buffers: B,
}

impl<B> SendCompletion<B> {
    /// For implementers of [`AsyncSocket`](crate::AsyncSocket). The result follows from the reason.
    #[must_use]
    #[inline]
    pub fn new(reason: EndReason, bytes_sent: u32, buffers: B) -> Self {
        Self { result: reason.send_result(), reason, bytes_sent, buffers }
    }

    /// The `errno` behind a result other than [`SendResult::Ok`], if a system call gave one.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.reason.os_error()
    }

    /// The result of the send in the form of [`io::Write::write_all`], with the number of bytes.
    ///
    /// # Errors
    /// Those of [`EndReason::io_result`], for every result other than [`SendResult::Ok`].
    // Codes_SRS_LENT_BUFFERS_01_008
    pub fn io_result(&self) -> io::Result<usize> {
        self.reason.io_result().map(|()| self.bytes_sent as usize)
    }

    /// [`io_result`](Self::io_result), and what was lent.
    pub fn into_io_result(self) -> (io::Result<usize>, B) {
        (self.io_result(), self.buffers)
    }
}

/// What a receive's callback gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceiveCompletion<B> {
    /// How it ended.
    pub result: ReceiveResult,
    /// Why it ended so.
    pub reason: EndReason,
    /// How many bytes were filled, from the front of the first buffer on: 0 unless the result is [`ReceiveResult::Ok`].
    pub bytes_received: u32,
    /// What was lent.
    pub buffers: B,
}

impl<B> ReceiveCompletion<B> {
    /// For implementers of [`AsyncSocket`](crate::AsyncSocket). The result follows from the reason.
    #[must_use]
    #[inline]
    pub fn new(reason: EndReason, bytes_received: u32, buffers: B) -> Self {
        Self { result: reason.receive_result(), reason, bytes_received, buffers }
    }

    /// The `errno` behind a result other than [`ReceiveResult::Ok`], if a system call gave one. An orderly end of the stream
    /// has none.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.reason.os_error()
    }

    /// The result of the receive in the form of [`io::Read::read`]: the number of bytes, or `Ok(0)` if no more will
    /// come. No more will come when the peer has finished, and also when the program itself has closed the socket.
    ///
    /// # Errors
    /// Those of [`EndReason::io_result`], for every other reason.
    // Codes_SRS_LENT_BUFFERS_01_008
    pub fn io_result(&self) -> io::Result<usize> {
        match self.reason {
            EndReason::PeerFinished | EndReason::Closed => Ok(0),
            reason => reason.io_result().map(|()| self.bytes_received as usize),
        }
    }

    /// [`io_result`](Self::io_result), and what was lent.
    pub fn into_io_result(self) -> (io::Result<usize>, B) {
        (self.io_result(), self.buffers)
    }
}

/// The received bytes: the filled part of the lent buffers. It is empty unless the result is [`ReceiveResult::Ok`].
// Codes_SRS_LENT_BUFFERS_01_007
impl<B: IoBuf> ReceiveCompletion<B> {
    /// The received bytes of a single buffer. [`received_slices`](Self::received_slices) is for lists.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        front(self.buffers.as_slice(), self.bytes_received as usize)
    }
}

// Codes_SRS_LENT_BUFFERS_01_007
impl<B: IoBufs> ReceiveCompletion<B> {
    /// The received bytes: one slice for each buffer that has some.
    pub fn received_slices(&self) -> impl Iterator<Item = &[u8]> {
        let received = self.buffers.slices_from(0).scan(self.bytes_received as usize, |left, slice| {
            let filled = front(slice, *left);
            *left -= filled.len();
            Some(filled)
        });
        received.take_while(|filled| !filled.is_empty())
    }
}

// Codes_SRS_LENT_BUFFERS_01_007
impl<B: IoBufMut> ReceiveCompletion<B> {
    /// The received bytes of a single buffer as a buffer that can be sent, for instance by an echo. Nothing is copied, and
    /// [`Slice::into_inner`] gives the whole buffer back for the next receive.
    #[must_use]
    pub fn into_slice(mut self) -> Slice<B> {
        let length = self.buffers.as_mut_slice().len();
        Slice::front(self.buffers, self.bytes_received as usize, length)
    }
}

// Codes_SRS_LENT_BUFFERS_01_007
impl ReceiveCompletion<Vec<u8>> {
    /// The received bytes as the lent vector, truncated to their length. Nothing is copied, and the capacity stays.
    #[must_use]
    pub fn into_received(mut self) -> Vec<u8> {
        self.buffers.truncate(self.bytes_received as usize);
        self.buffers
    }
}

#[cfg(feature = "bytes")]
impl ReceiveCompletion<bytes::BytesMut> {
    /// The received bytes as the lent buffer, truncated to their length. Nothing is copied, and the capacity stays.
    #[must_use]
    pub fn into_received(mut self) -> bytes::BytesMut {
        self.buffers.truncate(self.bytes_received as usize);
        self.buffers
    }
}

fn front(slice: &[u8], length: usize) -> &[u8] {
    slice.get(..length).unwrap_or(slice)
}
