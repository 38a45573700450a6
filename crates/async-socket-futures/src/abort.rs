//! The wish to end a task.
//!
//! Invariant: a task that begins stores its waker and then looks whether it is aborted; the thread that aborts it notes that
//! and then takes the waker. Each has a full fence between the two steps, so one of the two sees the other.
#![allow(unreachable_pub, reason = "a model of `tests/models` checks it")]

use crate::sync::{AtomicBool, OnceLock, Ordering, fence};
use std::task::Waker;

/// Whether any task of an engine was aborted. Until then no task looks at its own flag, which would cost it a cache line.
#[derive(Default)]
pub struct AnyAbort(AtomicBool);

/// Whether a task was aborted.
#[derive(Default)]
pub struct Abort {
    wanted: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Abort {
    /// The task begins. Its first poll comes after this call.
    pub fn begin(&self, waker: Waker) {
        let _first = self.waker.set(waker);
        full_fence("the waker of a task");
    }

    /// Notes the wish, and wakes the task if it has begun.
    pub fn abort(&self, any: &AnyAbort) {
        any.0.store(true, Ordering::Release);
        if !self.wanted.swap(true, Ordering::AcqRel) {
            full_fence("the wish to abort");
            self.waker.get().into_iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Whether the task is to end. Each poll of it asks.
    #[inline]
    pub fn is_wanted(&self, any: &AnyAbort) -> bool {
        any.0.load(Ordering::Acquire) && self.wanted.load(Ordering::Acquire)
    }
}

/// `after` names the first of the two steps.
fn full_fence(after: &'static str) {
    #[cfg(loom)]
    if crate::sync::injected_bug(after) {
        return;
    }
    #[cfg(not(loom))]
    let _ = after;
    fence(Ordering::SeqCst);
}
