//! The resources that a port takes from the process and gives back.
//!
//! Every test here holds `alone`, so that they run one after the other.

#[path = "../common/mod.rs"]
mod common;

mod create;
mod references;
