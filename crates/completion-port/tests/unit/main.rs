//! The port over mocks, and over real descriptors where only these show it; a file per promise.
//!
//! What counts what the process has is in `process`, what needs an allocator of its own in `out_of_memory`.

#[path = "../common/mod.rs"]
mod common;

mod add;
mod backlog;
mod claim;
mod debug;
mod dispatch;
mod errors;
mod fairness;
mod one_shot;
mod one_shot_arming;
mod panics;
mod register;
mod remove;
mod wake;
