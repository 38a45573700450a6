//! Shared by the integration tests: connected pairs, completions to wait for, and the state of the process.
//!
//! Nothing here waits for ever. A wait that takes longer than [`LIMIT`] panics and says what it waited for.
//!
//! * [`wire`]: pairs of a socket and its peer, and a pattern of bytes to check transfers with.
//! * [`call`]: sends and receives whose completions can be waited for.
//! * [`wait`]: threads, callbacks that are held, conditions, all bounded in time.
//! * [`kernel`]: the system calls, with barriers in between.
//! * [`port`]: a handler over real descriptors, for the tests of the completion port.
//! * [`process`]: descriptors, threads and memory of this process, and children with a test of their own.
#![allow(clippy::missing_panics_doc, reason = "a helper's panic is the test's failure; said once, above")]

pub mod call;
pub mod kernel;
pub mod port;
pub mod process;
pub mod wait;
pub mod wire;

pub use call::{Inbox, NeverCalled, Outbox, inbox, open, receive, send, send_now};
pub use wait::{LIMIT, Task, eventually, spawn, within};
pub use wire::{Peer, Transport};

/// The socket under test.
pub type Socket = async_socket_linux::AsyncSocketLinux;
