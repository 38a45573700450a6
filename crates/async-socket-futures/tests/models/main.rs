//! Models of a stream's readiness, of the queue of tasks and of an abort, for loom: each runs in every order of steps, up to
//! a number of preemptions.
//!
//! `cargo xtask verify models` runs them. It then runs them again with each defect that can be injected, and they must find
//! it. The bytes are in real sockets, which are no steps of a model.

#![cfg(loom)]

mod abort;
mod queue;
mod ready;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use test_doubles::check_model as check;

/// Counts wake-ups, which are no steps of a model.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
