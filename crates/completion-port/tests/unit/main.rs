//! The port over mocks, and over real descriptors if mocks cannot show it. Each promise has a file.
//!
//! Tests that count the process's resources are in `process`. Tests that need their own allocator are in `out_of_memory`.

#[path = "../common/mod.rs"]
mod common;

mod add;
mod backlog;
mod cancel;
mod claim;
mod debug;
mod dispatch;
mod driver;
mod errors;
mod fairness;
mod lazily;
mod metrics;
mod one_shot;
mod one_shot_arming;
mod panics;
mod port_defaults;
mod register;
mod remove;
mod remove_async;
mod time_outs;
mod timer;
mod wake;
