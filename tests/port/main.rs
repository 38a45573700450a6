//! The completion port on real descriptors, a file per behaviour.
//!
//! These tests run side by side in one process, or start one of their own. Tests that count the process's resources are in
//! `process`.

mod cancel;
mod claim;
mod driver;
mod ends;
mod failed;
mod fairness_and_panics;
mod inherited;
mod lazily;
mod order;
mod raw_waits;
mod refused_call;
mod registration;
mod thread;
mod timers;
