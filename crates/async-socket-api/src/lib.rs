//! The Rust types of a completion-based asynchronous socket: the model of Windows IOCP.
//!
//! A program lends buffers and a callback to a socket, and gets control back at once. When the work is done, the
//! callback runs exactly once and gives the buffers back. This crate defines the rules, and checks everything that can
//! be checked without a kernel. It does no I/O and knows no platform.
//!
//! The other crates: `async-socket-linux` implements the trait on epoll, with a pool of buffers and the choice of
//! threads. `async-socket-ffi` is its C ABI. Implement [`AsyncSocket`] yourself for another transport.
//!
//! | Concept | Type |
//! |---|---|
//! | a socket | [`AsyncSocket`] |
//! | one buffer that can be lent | [`IoBuf`] to send from, [`IoBufMut`] to receive into |
//! | one or many of them | [`IoBufs`], [`IoBufsMut`] |
//! | a range of a buffer, lent in place of the whole | [`Slice`] |
//! | a list that passed every check | [`Payload`] |
//! | memory that only a pointer knows | [`RawSlice`], [`RawBuffers`] |
//! | what a callback gets | [`OpenResult`], [`SendCompletion`], [`ReceiveCompletion`] |
//! | why an operation ended | [`EndReason`] |
//! | a call that was refused, with what was lent | [`Refused`] |
//!
//! Every error converts into [`std::io::Error`]. A completion gives its result as an `io::Result`
//! ([`ReceiveCompletion::io_result`], [`SendCompletion::io_result`]), in which the end of the stream is `Ok(0)`.
//!
//! [`AsyncSocket`] documents the threads on which callbacks run, the callbacks that may overlap, and the locks that a
//! caller must not hold.
//!
//! # Example: send back what was received
//! Only the received bytes go out, and nothing is copied. The next receive gets the same memory again:
//! ```
//! use async_socket_api::{AsyncSocket, ReceiveResult, SendResult};
//! use std::sync::Arc;
//!
//! fn echo(socket: &Arc<impl AsyncSocket + 'static>, buffer: Vec<u8>) {
//!     let next = Arc::clone(socket);
//!     // A refusal means that the socket was closed or the peer is gone: the connection ends here.
//!     let _ = socket.receive_async(buffer, move |received| {
//!         if received.result == ReceiveResult::Ok {
//!             let socket = Arc::clone(&next);
//!             let _ = socket.send_async(received.into_slice(), move |sent| {
//!                 if sent.result == SendResult::Ok {
//!                     echo(&next, sent.buffers.into_inner());
//!                 }
//!             });
//!         }
//!     });
//! }
//! ```
//!
//! # Example: code over any asynchronous socket
//! ```
//! use async_socket_api::{AsyncSocket, Refused, SendError, UnsupportedKind};
//!
//! fn greet(socket: &impl AsyncSocket) -> Result<(), Refused<&'static [u8], SendError>> {
//!     socket.send_async(b"hello".as_slice(), |sent| println!("{}", sent.reason))?;
//!     Ok(())
//! }
//! ```

mod buffers;
mod errors;
mod payload;
mod raw;
mod reason;
mod results;
mod slice;
mod socket;

pub use buffers::{IoBuf, IoBufMut, IoBufs, IoBufsMut};
pub use errors::{OpenError, ReceiveError, Refused, SendError, UnsupportedKind};
pub use payload::{Payload, PayloadError};
pub use raw::{RawBuffer, RawBuffers, RawSlice};
pub use reason::EndReason;
pub use results::{
    Cancel, OpenResult, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult, SendSyncResult, SocketState,
};
pub use slice::{Slice, SliceError};
pub use socket::AsyncSocket;

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
