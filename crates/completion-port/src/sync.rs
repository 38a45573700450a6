//! The sync primitives that the port uses, in one place so that a model checker can swap them: `--cfg loom` does.
//!
//! Under `--cfg loom` there is also `injected_bug`, with which the code has the defects that the models in `tests/models` must
//! find.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod native;

#[cfg(loom)]
pub(crate) use self::loom::*;
#[cfg(not(loom))]
pub(crate) use self::native::*;

pub(crate) use std::sync::atomic::Ordering;

/// The full fence between two steps, of which `after` names the first: the table in `core.rs`.
#[inline(always)]
pub(crate) fn full_fence(after: &'static str) {
    #[cfg(loom)]
    if injected_bug(after) {
        return;
    }
    #[cfg(not(loom))]
    let _ = after;
    fence(Ordering::SeqCst);
}
