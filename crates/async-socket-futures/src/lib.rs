//! async/await on [completion ports](completion_port), without a second runtime.
//!
//! Tasks run on the threads of ports, beside everything else that these ports do. A stream belongs to a port, and its events
//! wake the task that waits for it on the same thread, without a system call.
//!
//! | What | Type |
//! |---|---|
//! | an executor of N ports with a thread each | [`Engine`] |
//! | a future on the calling thread | [`block_on`] |
//! | a task | [`Engine::spawn`], [`spawn_local`], [`JoinHandle`] |
//! | TCP and Unix streams and listeners | [`Stream`], [`Listener`] |
//! | time | [`sleep`], [`timeout()`], [`interval`] |
//!
//! Streams and listeners work under other executors too. They then belong to the process-wide port, whose thread wakes the
//! tasks.
//!
//! # Example: a server
//! ```no_run
//! use async_socket_futures::{Listener, Stream, block_on, spawn_local, timeout};
//! use futures_util::{AsyncBufReadExt, AsyncWriteExt, io::BufReader};
//! use std::io;
//! use std::time::Duration;
//!
//! /// Reads lines and answers each, until the client is silent for a minute.
//! async fn serve(stream: Stream) -> io::Result<()> {
//!     let (mut lines, mut line) = (BufReader::new(&stream), String::new());
//!     while timeout(Duration::from_secs(60), lines.read_line(&mut line)).await?? > 0 {
//!         (&stream).write_all(format!("you said {line}").as_bytes()).await?;
//!         line.clear();
//!     }
//!     Ok(())
//! }
//!
//! block_on(async {
//!     let listener = Listener::bind("127.0.0.1:7777".parse().expect("an address"))?;
//!     loop {
//!         let stream = listener.accept().await?;
//!         drop(spawn_local(serve(stream)).map_err(io::Error::other)?);
//!     }
//!     # #[allow(unreachable_code)]
//!     # Ok::<_, io::Error>(())
//! })??;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod budget;
mod engine;
#[cfg(feature = "hyper")]
mod hyper_rt;
mod io;
mod listener;
mod stream;
mod task;
mod time;
mod worker;

pub use engine::{Engine, EngineBuilder, NoEngine, block_on, spawn_local};
#[cfg(feature = "hyper")]
pub use hyper_rt::{LocalExecutor, PortTimer};
pub use listener::Listener;
pub use stream::{Read, ReadHalf, Send, Stream, WriteAll, WriteHalf};
pub use task::{JoinError, JoinHandle, Panic};
pub use time::{Elapsed, Interval, Sleep, Timeout, interval, now, sleep, sleep_until, timeout};
