//! Asynchronous sockets for Linux with the completion model of Windows IOCP, on epoll.
//!
//! Hand over a connected socket, lend it buffers and callbacks, and get called when the work is done. A socket has no
//! thread of its own. It lives on a [completion port](completion_port), which is one epoll instance and one thread. An
//! [`ExecutionEngine`] holds one or several.
//!
//! * [`AsyncSocketLinux`] is the socket. Its methods are those of the trait [`AsyncSocket`].
//! * [`ExecutionEngine`] says how many threads there are. [`platform`] holds the process-wide engine.
//! * [`BufferPool`] is for receives that hold no buffer while they wait.
//! * [`EndReason`] says why an operation ended.
//! * [`SocketMetrics`] is what a socket holds and, if it is asked to count, what it has done. If a subscriber of `tracing` wants
//!   the level `DEBUG`, each socket has a span, from open to close, inside which its callbacks run.
//! * [`sys`] is the seam to the kernel, for tests.
//!
//! The other crates: [`async_socket_api`] has the trait, the buffers that can be lent, and the results; all of it is
//! exported here too. [`completion_port`] watches descriptors that are no sockets. `async-socket-ffi` is the C ABI.
//! `test-doubles` has mocks and faulty system calls for tests.
//!
//! Two modules have `unsafe` code: `upper_layer`, because `getsockopt(TCP_ULP)` has no safe interface, and `descriptor`,
//! because it lends the descriptor beside operations.
//!
//! # Threads
//! Every call can be made from any thread, also inside any callback. [`AsyncSocket`] has the details. In short:
//!
//! * The *port thread* is the one thread of the socket's completion port. Receives, and sends that had to wait, call
//!   back there, one at a time for all sockets of the port. A callback that blocks holds up all of them.
//! * A send that the kernel takes at once calls back inside `send_async`, and a shutdown that need not wait inside
//!   `shutdown_async`. An open calls back inside `open_async`. Operations that close or drop abandons, or that `cancel`
//!   ends, call back inside that call. All these callbacks run on the caller's thread and stack.
//! * What times out calls back on the port thread.
//! * Callbacks of one socket can overlap if one of them runs inside a call. If two threads send, their bytes go out in
//!   the order of the sends, but the callbacks may begin and end in the other order.
//! * Hold no lock that a callback takes while you open, send, close or drop. Close and drop also wait for callbacks on
//!   other threads. Two callbacks on two threads that close each other's sockets wait for ever;
//!   [`close_async`](AsyncSocketLinux::close_async) does not wait.
//! * Dropping the socket waits until none of its callbacks runs or will run. Callbacks that contain the drop are
//!   excepted.
//! * A pending receive whose callback holds an `Arc` of its own socket keeps it open. Call
//!   [`close`](AsyncSocket::close), or capture a `Weak`.
//!
//! # Example
//! ```
//! use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
//! use std::os::unix::net::UnixStream;
//! use std::sync::mpsc::channel;
//!
//! let (ours, theirs) = UnixStream::pair()?;
//! let ours = AsyncSocketLinux::open(None, ours)?;
//! let theirs = AsyncSocketLinux::open(None, theirs)?;
//!
//! let (done, received) = channel();
//! theirs.receive_async(vec![0; 64], move |completion| drop(done.send(completion)))?;
//! ours.send_async("hello", |_| {})?;
//!
//! assert_eq!(received.recv()?.received(), b"hello");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod closing;
mod counts;
mod deadline;
mod descriptor;
mod engine;
mod event;
mod extras;
mod high_water;
mod idle;
mod io_results;
mod kinds;
mod lent;
mod metrics;
mod opening;
mod operation;
pub mod platform;
mod pool;
mod pool_waiters;
mod sending;
mod shutdown;
mod socket;
mod socket_core;
mod span;
pub mod sys;
mod transfer;
mod upper_layer;

pub use async_socket_api::{
    AsyncSocket, Cancel, EndReason, IoBuf, IoBufMut, IoBufs, IoBufsMut, OpenError, OpenResult, Payload, PayloadError,
    RawBuffer, RawBuffers, RawSlice, ReceiveCompletion, ReceiveError, ReceiveResult, Refused, SendCompletion,
    SendError, SendResult, SendSyncResult, Slice, SliceError, SocketState, UnsupportedKind,
};
pub use closing::CloseError;
pub use completion_port::{OperationId, OutOfMemory};
pub use descriptor::IntoFdError;
pub use engine::{ExecutionEngine, ExecutionEngineBuilder};
pub use idle::TimeoutError;
pub use metrics::{OperationCounts, PoolMetrics, SocketCounts, SocketMetrics};
pub use opening::{FreshStream, SetUpError};
pub use pool::{BufferPool, FromPool, PoolError, PoolPlace, PooledBuffer, PooledCompletion};
pub use pool_waiters::Resume;
pub use socket::{AsyncSocketLinux, CreateError};
pub use sys::{Kernel, SocketSyscalls};

/// The examples of both READMEs, the repository's and the crate's, as tests.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../../README.md")]
    mod of_the_repository {}
    #[doc = include_str!("../README.md")]
    mod of_the_crate {}
}
