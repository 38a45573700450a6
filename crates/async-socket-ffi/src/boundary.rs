//! The edge of the ABI: no unwinding into C, and contexts that cross threads.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A callback's context. The C program is responsible for its target, on every thread.
#[derive(Clone, Copy)]
pub(crate) struct Context(*mut c_void);

// SAFETY: the library only hands the pointer back. A C program that passes it promises that its target can be used on the
// callback's thread (docs/c-api.md, "Threads").
unsafe impl Send for Context {}

impl Context {
    pub(crate) fn new(context: *mut c_void) -> Self {
        Self(context)
    }

    pub(crate) fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Runs the whole of an ABI call. A panic becomes the call's failure value instead of unwinding into C.
#[inline]
pub(crate) fn guarded<T>(failed: T, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        tracing::error!("panic caught at the C boundary");
        failed
    })
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
