//! The sync primitives that the port uses, in one place so that a model checker can swap them: `--cfg loom` does.
//!
//! Here are also the defects that the models in `tests/models` must find; without `--cfg loom` there are none.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod native;

#[cfg(loom)]
pub(crate) use self::loom::*;
#[cfg(not(loom))]
pub(crate) use self::native::*;

pub(crate) use std::sync::atomic::Ordering;

/// The full fence between the two steps that `after` is the first of: the table in `queue.rs`.
#[inline(always)]
pub(crate) fn full_fence(after: &'static str) {
    if !injected_bug(after) {
        fence(Ordering::SeqCst);
    }
}
