//! The completion port on real descriptors, a file per behaviour.
//!
//! These tests run beside each other in one process: what counts what the process has, or changes it, is in `process`.

mod claim;
mod ends;
mod fairness_and_panics;
mod order;
