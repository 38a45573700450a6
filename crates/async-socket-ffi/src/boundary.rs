//! What every function of the ABI does at its edge: counted handles, no unwinding, contexts that cross threads.

use crate::log;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A call-back's context: the C program's business, on whichever thread.
#[derive(Clone, Copy)]
pub(crate) struct Context(*mut c_void);

// SAFETY: we only hand the pointer back; that its target can be used on the call-back's thread is what a C program
// promises by passing it (docs/c-api.md, "Threads").
unsafe impl Send for Context {}

impl Context {
    pub(crate) fn new(context: *mut c_void) -> Self {
        Self(context)
    }

    pub(crate) fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Runs a call of the ABI, all of it; a panic becomes its failure value instead of unwinding into C.
#[inline]
pub(crate) fn guarded<T>(failed: T, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        tracing::error!("panic caught at the C boundary");
        failed
    })
}

/// The object behind a handle, counted once more for as long as the call lasts, so that a destroy inside a call-back
/// frees nothing that is in use. `None` for NULL.
///
/// # Safety
/// `handle` is NULL or came from [`Arc::into_raw`] and has not been given up.
#[inline]
pub(crate) unsafe fn borrowed<T>(handle: *const T) -> Option<Arc<T>> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: it is a counted reference, by this function's contract.
    unsafe { Arc::increment_strong_count(handle) };
    // SAFETY: the count was just raised for this one.
    Some(unsafe { Arc::from_raw(handle) })
}

/// Says which argument is wrong.
#[cold]
pub(crate) fn reject(function: &'static str, argument: &'static str, why: &'static str) {
    log::start();
    tracing::error!(function, argument, why, "bad argument");
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_becomes_the_failure_value() {
        assert_eq!(guarded(1, || -> i32 { panic!("inside a call of the ABI") }), 1);
        assert_eq!(guarded(1, || 0), 0);
    }
}
