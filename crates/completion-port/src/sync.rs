//! The sync primitives that the port uses, in one place so that a model checker can swap them: `--cfg loom` does.
//!
//! Under `--cfg loom`, `injected_bug` gives the code the defects that the models in `tests/models` must find.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod native;

#[cfg(loom)]
pub(crate) use self::loom::*;
#[cfg(not(loom))]
pub(crate) use self::native::*;

pub(crate) use std::sync::atomic::Ordering;

/// The full fence between the two steps of a pair in the table in `core.rs`. `after` names the first step.
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
