//! The completion port on real descriptors, a file per behaviour.
//!
//! These tests run side by side in one process. Tests that count or change the process's resources are in `process`.

mod cancel;
mod claim;
mod ends;
mod fairness_and_panics;
mod order;
mod timers;
