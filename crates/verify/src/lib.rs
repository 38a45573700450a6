//! Programs that try to break the library, and their measuring tools. `cargo xtask verify` runs them.
//!
//! | Module | Purpose |
//! |---|---|
//! | [`faults`] | plays random programs over faulty system calls and checks every promise |
//! | [`soak`] | lets thousands of connections come and go, and checks that the process's resources stay flat |
//! | [`memory`] | the allocator that counts allocated bytes, and fails on demand |
//!
//! They use only the public interface, so that they outlive changes behind it.
#![allow(clippy::missing_panics_doc, reason = "a panic is the finding; said once, above")]

pub mod faults;
pub mod memory;
pub mod soak;
