//! Models of the concurrency core for loom. It runs each in every order of steps and with every value that the memory model
//! allows, up to a number of preemptions. The models run the crate's own code: `src/sync` swaps the primitives.
//!
//! `cargo xtask verify models` runs the models. It then runs them again with each defect that can be injected, and they
//! must find it.

#![cfg(loom)]
#![allow(unreachable_pub, reason = "modules of a test, not a crate")]

mod cancel;
mod kernel;
mod lazily;
mod one_shot;
mod port;
mod queued;
mod registration;
mod removal;
mod time_out;
mod timer;
mod whole;
mod world;

use test_doubles::check_model as check;

/// Enough preemptions for every order. Without a bound, loom leaves out orders that it takes for equal, and then does not
/// consider fences.
const ANY: usize = 20;
