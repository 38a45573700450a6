//! Programs that try to break the library, and what they measure with. `cargo xtask verify` runs them.
//!
//! | Module | What it does |
//! |---|---|
//! | [`faults`] | plays random programs over faulty system calls and checks every promise |
//! | [`soak`] | lets thousands of connections come and go, and checks that the process stays as it is |
//! | [`memory`] | the allocator that counts what is allocated, and fails on demand |
//!
//! They use the public interface only, so that they outlive what is behind it.
#![allow(clippy::missing_panics_doc, reason = "a panic is the finding; said once, above")]

pub mod faults;
pub mod memory;
pub mod soak;
