//! What a completion-based asynchronous socket is: the model of Windows IOCP, as Rust types.
//!
//! A program lends buffers and a call-back to a socket, gets control back at once, and the
//! call-back runs exactly once when the work is done, returning the buffers. This crate says what
//! that means and checks what can be checked without a kernel; it does no I/O and knows no
//! platform. `async-socket-linux` implements it on epoll; implement [`AsyncSocket`] yourself for
//! another transport.
//!
//! | Concept | Type |
//! |---|---|
//! | a socket | [`AsyncSocket`] |
//! | one buffer that can be lent | [`IoBuf`] to send from, [`IoBufMut`] to receive into |
//! | one or many of them | [`IoBufs`], [`IoBufsMut`] |
//! | a list that passed every check | [`Payload`] |
//! | memory that only a pointer knows | [`RawSlice`], [`RawBuffers`] |
//! | what a call-back gets | [`OpenResult`], [`SendCompletion`], [`ReceiveCompletion`] |
//! | a call that was refused, with what was lent | [`Refused`] |
//!
//! # Example: code over any asynchronous socket
//! ```
//! use async_socket_api::{AsyncSocket, Refused, SendError};
//!
//! fn greet(socket: &impl AsyncSocket) -> Result<(), Refused<&'static [u8], SendError>> {
//!     socket.send_async(b"hello".as_slice(), |sent| println!("{:?}", sent.result))
//! }
//! ```

mod buffers;
mod errors;
mod payload;
mod raw;
mod results;
mod socket;

pub use buffers::{IoBuf, IoBufMut, IoBufs, IoBufsMut};
pub use errors::{OpenError, ReceiveError, Refused, SendError};
pub use payload::{Payload, PayloadError};
pub use raw::{RawBuffer, RawBuffers, RawSlice};
pub use results::{
    OpenResult, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult, SendSyncResult, SocketState,
};
pub use socket::AsyncSocket;
