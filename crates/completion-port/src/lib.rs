//! A completion port for Linux: one epoll instance, one thread, a reference count.
//!
//! [Register](Registration::register) a descriptor once. From then on *operations* wait in one queue per direction, and the
//! port's thread performs and completes them when the descriptor is ready. Your [`Handler`] decides what an operation does;
//! the port knows descriptors and events, never bytes. Two modules have `unsafe` code: [`process`], because no safe crate
//! offers the libc calls that it needs, and [`memory`], because stable Rust has no reference-counted pointer whose
//! allocation can be refused.
//!
//! | Concept | Type |
//! |---|---|
//! | the port: epoll, thread, reference count | [`CompletionPort`] |
//! | one descriptor on it, with its two queues | [`Registration`] |
//! | what to do with an operation | [`Handler`], told by an [`Action`], answering through an [`Attempt`] |
//! | descriptors that stay the caller's, one event at a time | [`OneShots`] |
//! | the right to try at once on one's own thread | [`Claim`] |
//! | the seams for tests | [`Port`], [`PortSyscalls`] |
//!
//! # Example: accept connections
//! ```
//! use completion_port::{Action, Attempt, CompletionPort, Direction, Handler, Registration};
//! use std::net::{TcpListener, TcpStream};
//! use std::sync::mpsc::{Sender, channel};
//!
//! struct Accept;
//!
//! impl Handler for Accept {
//!     type Descriptor = TcpListener;
//!     type Operation = Sender<TcpStream>;
//!
//!     fn attempt(&self, operation: Sender<TcpStream>, action: Action, attempt: Attempt<'_, Self>) {
//!         match attempt.run(TcpListener::accept) {
//!             Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock && action == Action::In => {
//!                 attempt.pending(operation);
//!             }
//!             accepted => attempt.complete(false, None, || {
//!                 if let Some(Ok((stream, _))) = accepted {
//!                     let _ = operation.send(stream);
//!                 }
//!             }),
//!         }
//!     }
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! listener.set_nonblocking(true)?;
//! let address = listener.local_addr()?;
//!
//! let registration = Registration::new(CompletionPort::create()?, Accept, listener);
//! registration.register(|| ())?;
//! let (sender, accepted) = channel();
//! registration.add(Direction::In, sender).map_err(|refused| refused.error)?;
//!
//! let client = TcpStream::connect(address)?;
//! assert_eq!(accepted.recv()?.peer_addr()?, client.local_addr()?);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(not(target_has_atomic = "64"))]
compile_error!(
    "completion-port needs 64-bit atomics, which this target does not have: its queues number operations and events with \
     counters that must never wrap. 32-bit ARM from v7 on, 32-bit x86 and every 64-bit target have them."
);

mod action;
mod admission;
mod backlog;
mod builder;
mod callback;
mod cancel;
mod claim;
mod clock;
mod core;
mod dispatch;
mod driver;
mod errors;
mod failure;
mod flags;
mod handler;
mod lane;
mod membership;
pub mod memory;
mod metrics;
mod one_shot;
mod phase;
mod port;
mod port_thread;
mod precise_wait;
pub mod process;
mod readiness;
mod refusal;
mod registering;
mod registration;
mod removal;
mod remove_async;
mod room;
mod run;
mod shared;
mod source;
mod sync;
pub mod sys;
mod table;
mod timer;
mod try_arc;
mod wheel;

pub use action::{Action, Direction, IntoOperation};
pub use builder::{CompletionPortBuilder, CreatePortError};
pub use callback::log_caught;
pub use cancel::{Cancel, OperationId, TimerFired};
pub use claim::{Claim, Unqueued};
pub use dispatch::is_port_thread;
pub use driver::{PortDriver, Turn};
pub use handler::{Attempt, Handler};
pub use metrics::PortMetrics;
pub use one_shot::{OneShots, Waiter};
pub use phase::Phase;
pub use port::{CompletionPort, Port};
pub use readiness::{Interest, Readiness};
pub use refusal::{AddError, ClaimError, Declined, NotMade, OutOfMemory, RegisterError};
pub use registration::{Registration, Resumer};
pub use source::{Dispatch, Rearm, Source, SourceRef, Token};
pub use sys::{Kernel, PortSyscalls};
pub use timer::{PortExt, Timer};
