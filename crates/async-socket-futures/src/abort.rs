//! The wish to end a task.
//!
//! Invariant: a task that begins stores its waker and then looks whether it is aborted; the thread that aborts it notes that
//! and then takes the waker. Each has a full fence between the two steps, so one of the two sees the other.
#![allow(unreachable_pub, reason = "a model of `tests/models` checks it")]

use crate::sync::{AtomicU8, AtomicUsize, OnceLock, Ordering, fence};
use std::task::Waker;

const LIVES: u8 = 0;
const WANTED: u8 = 1;
const ENDED: u8 = 2;

/// How many tasks were aborted and have not ended. While there is none, no task looks at its own state, which would cost it
/// a cache line.
#[derive(Default)]
pub struct Aborts(AtomicUsize);

impl Aborts {
    /// None.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

#[cfg(loom)]
impl Aborts {
    /// How many there are.
    pub fn pending(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a task was aborted.
#[derive(Default)]
pub struct Abort {
    state: AtomicU8,
    waker: OnceLock<Waker>,
}

impl Abort {
    /// The task begins. Its first poll comes after this call.
    pub fn begin(&self, waker: Waker) {
        let _first = self.waker.set(waker);
        full_fence("the waker of a task");
    }

    /// Notes the wish, and wakes the task if it has begun. Does nothing to a task that has ended.
    pub fn abort(&self, aborts: &Aborts) {
        // Before the task can end.
        aborts.0.fetch_add(1, Ordering::Relaxed);
        if self.state.compare_exchange(LIVES, WANTED, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            aborts.0.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        full_fence("the wish to abort");
        self.waker.get().into_iter().for_each(Waker::wake_by_ref);
    }

    /// Whether the task is to end. Each poll of it asks.
    #[inline]
    pub fn is_wanted(&self, aborts: &Aborts) -> bool {
        aborts.0.load(Ordering::Acquire) > 0 && self.state.load(Ordering::Acquire) == WANTED
    }

    /// The task has ended.
    pub fn end(&self, aborts: &Aborts) {
        if self.state.swap(ENDED, Ordering::AcqRel) == WANTED {
            aborts.0.fetch_sub(1, Ordering::Relaxed);
        }
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
