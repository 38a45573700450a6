//! The socket over mocks, a file per call.
//!
//! Tests that need a process or an allocator of their own are binaries beside this one.

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod careless_buffers;
mod close;
mod close_async;
mod create;
mod deadline;
mod destroy;
mod end_reasons;
mod engine;
mod error_event_without_error_queue;
mod event_callback;
mod high_water;
mod idle;
mod into_fd;
mod io_results;
mod kinds;
mod metrics;
mod open;
mod pool;
mod receive;
mod send;
mod shutdown;
mod spans;
mod sys;
mod transfer;
mod with_descriptor;
