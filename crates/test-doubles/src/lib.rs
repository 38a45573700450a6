//! Test doubles for code on top of `completion-port` and `async-socket-linux`.
//!
//! | Double | Stands in for | For tests that |
//! |---|---|---|
//! | [`MockPort`] | the completion port | fire events by hand, one at a time, on the test's thread |
//! | [`ScriptedSockets`] | the system calls on a socket | set what the n-th `send` or `recv` returns |
//! | [`ScriptedPort`] | the system calls of a port | make the n-th `epoll_ctl` fail; the others are real |
//! | [`FailingAllocator`] | the allocator | run out of memory at a chosen point, or at each in turn |
//! | [`Number`] | an owned descriptor | close a descriptor that is still waited for |
//! | [`FaultySyscalls`] | both | run on real sockets with random short transfers, errors and events, from a seed |
//!
//! Each is cheap to clone, and the clones share their state. Give one to the code under test, and keep one to look at. A double
//! panics when its script and the code disagree. That is the test's failure.
//!
//! # Example: a receive that finds nothing the first time
//! ```
//! use async_socket_linux::sys::Errno;
//! use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ReceiveResult};
//! use completion_port::{Action, Direction};
//! use std::sync::mpsc::channel;
//! use test_doubles::{MockPort, ScriptedSockets, Step, any_descriptor};
//!
//! let (port, sockets) = (MockPort::new(), ScriptedSockets::new());
//! let socket = AsyncSocketLinux::create_with(port.clone(), sockets.clone(), any_descriptor());
//! socket.open_async(|_| {})?;
//!
//! let (done, completed) = channel();
//! socket.receive_async(vec![0; 8], move |completion| drop(done.send(completion)))?;
//!
//! sockets.script_recv([Step::Fails(Errno::AGAIN), Step::bytes("hi")]);
//! port.fire(Action::In);
//! assert_eq!(port.queued(Direction::In), 1); // still pending
//! port.fire(Action::In);
//! let completion = completed.try_recv()?;
//! assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Ok, 2));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![allow(clippy::missing_panics_doc, reason = "a test double's panic is the test's failure; said once, above")]

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod faulty;
mod mock_port;
#[cfg(loom)]
mod models;
mod no_memory;
mod number;
mod scripted_port;
mod scripted_sockets;

pub use faulty::{Fault, Faults, FaultySyscalls};
pub use mock_port::{MockPort, PortCall};
#[cfg(loom)]
pub use models::check_model;
pub use no_memory::{
    FailingAllocator, allocations_tried, fail_allocations, fail_allocations_of_new_threads, fail_nth_allocation,
    failing_nth, set_memory, with_memory, without_memory, without_memory_beyond,
};
pub use number::Number;
pub use scripted_port::{PortSyscall, ScriptedPort};
pub use scripted_sockets::{ScriptedSockets, SocketCall, Step};

use std::os::fd::OwnedFd;

/// A descriptor that can be owned and closed, for code that never gets to use it.
#[must_use]
pub fn any_descriptor() -> OwnedFd {
    std::fs::File::open("/dev/null").expect("/dev/null opens").into()
}
