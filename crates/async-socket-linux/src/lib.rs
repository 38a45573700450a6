//! Asynchronous sockets for Linux with the completion model of Windows IOCP, on epoll.
//!
//! Hand over a connected socket, lend it buffers and call-backs, and get called when the work is
//! done. A socket makes no thread of its own: it lives on a [completion port](completion_port), one
//! epoll instance and one thread, of which an [`ExecutionEngine`] can hold several.
//!
//! * [`AsyncSocketLinux`] is the socket; its methods are those of the trait [`AsyncSocket`].
//! * [`ExecutionEngine`] says how many threads there are; [`platform`] holds the process-wide one.
//! * [`BufferPool`] is for receives that hold no buffer while they wait.
//! * [`sys`] is the seam to the kernel, for tests.
//!
//! There is no `unsafe` code in this crate.
//!
//! # Example
//! ```
//! use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
//! use std::os::unix::net::UnixStream;
//! use std::sync::mpsc::channel;
//!
//! let (ours, theirs) = UnixStream::pair()?;
//! let ours = AsyncSocketLinux::create(None, ours.into())?;
//! let theirs = AsyncSocketLinux::create(None, theirs.into())?;
//! ours.open_async(|_| {})?;
//! theirs.open_async(|_| {})?;
//!
//! let (done, received) = channel();
//! theirs.receive_async(vec![0; 64], move |completion| drop(done.send(completion)))?;
//! ours.send_async("hello", |_| {})?;
//!
//! let completion = received.recv()?;
//! assert_eq!(&completion.buffers[..completion.bytes_received as usize], b"hello");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod engine;
mod event;
mod operation;
pub mod platform;
mod pool;
mod socket;
pub mod sys;
mod transfer;

pub use async_socket_api::{
    AsyncSocket, IoBuf, IoBufMut, IoBufs, IoBufsMut, OpenError, OpenResult, Payload, PayloadError, RawBuffer,
    RawBuffers, RawSlice, ReceiveCompletion, ReceiveError, ReceiveResult, Refused, SendCompletion, SendError,
    SendResult, SendSyncResult, SocketState,
};
pub use engine::{ExecutionEngine, ExecutionEngineBuilder};
pub use pool::{BufferPool, PoolError, PooledBuffer, PooledCompletion};
pub use socket::{AsyncSocketLinux, CreateError};
pub use sys::{Kernel, SocketSyscalls};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
