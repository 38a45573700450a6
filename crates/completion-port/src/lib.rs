//! A completion port for Linux: one epoll instance, one thread, a reference count.
//!
//! [Register](Registration::register) a descriptor once; from then on *operations* wait in one
//! queue per direction, and the port's thread performs and completes them when the descriptor is
//! ready. What an operation does is the business of your [`Handler`]; the port knows descriptors
//! and events, never bytes. There is no `unsafe` code in this crate.
//!
//! | Concept | Type |
//! |---|---|
//! | the port: epoll, thread, reference count | [`CompletionPort`] |
//! | one descriptor on it, with its two queues | [`Registration`] |
//! | what to do with an operation | [`Handler`], told by an [`Action`], answering with [`Progress`] |
//! | descriptors that somebody else owns, one event at a time | [`OneShots`] |
//! | the right to try at once on one's own thread | [`Claim`] |
//! | the seams for tests | [`Port`], [`PortSyscalls`] |
//!
//! # Example: accept connections
//! ```
//! use completion_port::{Action, CompletionPort, Direction, Handler, Progress, Registration};
//! use std::net::{TcpListener, TcpStream};
//! use std::sync::mpsc::{Sender, channel};
//!
//! struct Accept;
//! struct Operation(Sender<TcpStream>, Option<TcpStream>);
//!
//! impl Handler for Accept {
//!     type Descriptor = TcpListener;
//!     type Operation = Operation;
//!
//!     fn perform(&self, listener: &TcpListener, operation: &mut Operation, action: Action) -> Progress {
//!         match (action, listener.accept()) {
//!             (Action::In, Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Progress::Pending,
//!             (_, accepted) => {
//!                 operation.1 = accepted.ok().map(|(stream, _)| stream);
//!                 Progress::Complete { drained: false }
//!             }
//!         }
//!     }
//!
//!     fn complete(&self, operation: Operation) {
//!         if let Some(stream) = operation.1 {
//!             let _ = operation.0.send(stream);
//!         }
//!     }
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! listener.set_nonblocking(true)?;
//! let address = listener.local_addr()?;
//!
//! let registration = Registration::new(CompletionPort::create()?, Accept);
//! registration.register(listener).map_err(|refused| refused.error)?;
//! let (sender, accepted) = channel();
//! registration.add(Direction::In, Operation(sender, None)).map_err(|refused| refused.error)?;
//!
//! let client = TcpStream::connect(address)?;
//! assert_eq!(accepted.recv()?.peer_addr()?, client.local_addr()?);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod callback;
mod handler;
mod one_shot;
mod port;
mod queue;
mod readiness;
mod registration;
mod sync;
pub mod sys;

pub use handler::{Action, Direction, Handler, Progress};
pub use one_shot::{Interest, OneShots, Waiter};
pub use port::{CompletionPort, CreatePortError, Port, Source, Token, Turn};
pub use readiness::Readiness;
pub use registration::{AddError, CallBack, Claim, ClaimError, Refused, RegisterError, Registration};
pub use sys::{Kernel, PortSyscalls};
