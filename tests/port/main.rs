//! The completion port on real descriptors, a file per behaviour.
//!
//! These tests run side by side in one process. Tests that count or change the process's resources are in `process`.

mod claim;
mod ends;
mod fairness_and_panics;
mod order;
