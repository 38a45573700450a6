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
//! # A server
//! It answers lines, cuts off clients that are silent for a minute, and ends at Ctrl-C. `cargo run --example lines` runs it.
//! ```no_run
//! use async_socket_futures::{Listener, Stream, block_on, spawn_local, timeout};
//! use futures_util::future::{Either, select};
//! use futures_util::{AsyncBufReadExt, io::BufReader};
//! use std::io::{self, Write};
//! use std::os::unix::net::UnixStream;
//! use std::{pin::pin, time::Duration};
//!
//! async fn serve(stream: Stream) -> io::Result<()> {
//!     let (mut lines, mut line) = (BufReader::new(&stream), String::new());
//!     while timeout(Duration::from_secs(60), lines.read_line(&mut line)).await?? > 0 {
//!         stream.write_all(format!("you said {line}").as_bytes()).await?;
//!         line.clear();
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (mut pressed, stop) = UnixStream::pair()?;
//!     ctrlc::set_handler(move || drop(pressed.write(b"!")))?;
//!     block_on(async {
//!         let listener = Listener::bind("127.0.0.1:7777".parse()?)?;
//!         let (stop, mut byte) = (Stream::new(stop)?, [0]);
//!         let mut stopped = stop.read(&mut byte);
//!         while let Either::Left((stream, _)) = select(pin!(listener.accept()), &mut stopped).await {
//!             drop(spawn_local(serve(stream?))?);
//!         }
//!         Ok(())
//!     })?
//! }
//! ```
#![deny(unsafe_code)]

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod abort;
mod adapters;
mod budget;
mod connect;
mod engine;
mod halves;
#[cfg(feature = "hyper")]
mod hyper_rt;
mod io;
mod listener;
mod owned;
mod pooled;
mod queue;
mod ready;
mod stream;
mod sync;
mod task;
mod time;
mod worker;

pub use engine::{Engine, EngineBuilder, NoEngine, block_on, spawn_local};
pub use halves::{ReadHalf, WriteHalf};
#[cfg(feature = "hyper")]
pub use hyper_rt::{LocalExecutor, PortTimer};
pub use listener::Listener;
pub use owned::{Receive, Send, SendBuffers};
pub use pooled::ReceivePooled;
pub use stream::{Read, Stream, WriteAll};
pub use task::{JoinError, JoinHandle, Panic};
pub use time::{Elapsed, Interval, Sleep, Timeout, interval, now, sleep, sleep_until, timeout};

/// What the models in `tests/models` check apart from streams.
#[cfg(loom)]
#[doc(hidden)]
pub mod models {
    pub use crate::abort::{Abort, Aborts};
    pub use crate::queue::{Pushed, RunQueue};
}
