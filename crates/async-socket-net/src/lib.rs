//! From an address to an open socket: listeners, connectors and name look-up for `async-socket-linux`.
//!
//! | Concept | Type |
//! |---|---|
//! | accept connections, on one port or on each of an engine | [`Listener`], [`Accepted`] |
//! | wait for what is open, or cut it off, with a deadline | [`Tracker`] |
//! | connect to an address, a list, a name or a Unix socket | [`connect`](fn@connect), [`Connector`], [`Connecting`] |
//! | look names up beside the ports | [`Resolver`] |
//! | set options of sockets | [`SocketOptions`] |
//! | the seam to the kernel, for tests | [`sys`] |
//!
//! There is no thread here but those of the resolver. All waiting is done by the completion port: for connections, for
//! the end of a connect, and for time. Every call can be made from any thread, also inside any callback. A panic of a callback
//! is caught and logged.
//!
//! # Example: a server that answers once, and its client
//! ```
//! use async_socket_linux::{AsyncSocket, ExecutionEngine};
//! use async_socket_net::{Listener, connect};
//! use std::net::TcpListener;
//! use std::sync::{Arc, Mutex, mpsc::channel};
//! use std::time::Duration;
//!
//! let engine = ExecutionEngine::builder().build()?;
//! let sockets = Arc::new(Mutex::new(Vec::new())); // an open socket is closed when it is dropped
//! let ours = Arc::clone(&sockets);
//! let listener = Listener::new(&engine, TcpListener::bind("127.0.0.1:0")?, move |accepted| {
//!     if let Some(socket) = accepted.ok().and_then(|accepted| accepted.open().ok()) {
//!         let _ = socket.send_async("hello", |_| {});
//!         ours.lock().unwrap().push(socket);
//!     }
//! })?;
//!
//! let (done, connected) = channel();
//! let address = listener.local_address().clone();
//! let _connecting = connect(&engine, address, Duration::from_secs(5), move |outcome| drop(done.send(outcome)));
//! let socket = connected.recv()??;
//!
//! let (done, received) = channel();
//! socket.receive_async(vec![0; 64], move |completion| drop(done.send(completion)))?;
//! assert_eq!(received.recv()?.received(), b"hello");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod accept_error;
mod accepted;
mod acceptor;
mod address;
mod alarm;
mod attempts;
mod backoff;
mod caught;
mod connect_error;
mod connector;
mod dialer;
mod few;
mod listener;
mod opening;
mod options;
mod order;
mod race;
mod raw;
mod resolver;
mod run;
pub mod sys;
mod target;
mod tracker;

pub use accept_error::{AcceptError, ListenError};
pub use accepted::Accepted;
pub use address::{Address, Family, UnixAddress};
pub use connect_error::{AttemptError, Attempts, ConnectError, ConnectErrorKind};
pub use connector::{Connecting, Connector, connect};
pub use listener::{Listener, ListenerBuilder, ListenerMetrics};
pub use options::{KeepAlive, OptionError, SocketOption, SocketOptions};
pub use resolver::{ResolveError, Resolver};
pub use sys::Credentials;
pub use target::{Target, TargetError, ToTarget};
pub use tracker::{Finished, Tracked, Tracker};
