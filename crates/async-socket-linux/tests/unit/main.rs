//! The socket over mocks, a file per call.
//!
//! Tests that need a process or an allocator of their own are binaries beside this one.

#[path = "../common/mod.rs"]
mod common;

mod careless_buffers;
mod close;
mod create;
mod destroy;
mod error_event_without_error_queue;
mod event_callback;
mod io_results;
mod kinds;
mod open;
mod pool;
mod receive;
mod send;
mod sys;
mod transfer;
