//! async/await on real ports and sockets, with load, and under other executors.

#![allow(clippy::unwrap_used, reason = "a test fails with it")]

mod adapters;
mod buffers;
mod executors;
mod ports;
mod streams;
mod tasks;
