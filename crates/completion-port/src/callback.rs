//! Running other people's code: panics stay inside, and a thread knows whose call-backs it is in.

use std::any::Any;
use std::cell::RefCell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call-back of a [`Claim`](crate::Claim) or of an open may do while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// Claims are granted inside it.
    Allowed,
    /// Claims are refused inside it, so that a chain of them needs no more stack than one.
    Refused,
}

thread_local! {
    /// The registrations whose call-backs are on this thread's stack, run by their own callers.
    static ON_THIS_STACK: RefCell<Vec<(usize, Nesting)>> = const { RefCell::new(Vec::new()) };
}

/// Runs user code; a panic is logged and ends here.
// Codes_SRS_COMPLETION_PORT_01_041
pub(crate) fn run_caught<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(payload) => {
            caught(what, payload);
            None
        }
    }
}

#[cold]
fn caught(what: &'static str, payload: Box<dyn Any + Send>) {
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)");
    tracing::error!(what, message, "panic caught");
    // A payload is user code too, and may panic when it is dropped.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

/// Runs a call-back of the registration with identity `id` on its caller's thread.
#[inline]
pub(crate) fn run_inline(id: usize, nesting: Nesting, call: impl FnOnce()) {
    with_stack(|stack| stack.push((id, nesting)));
    run_caught("call-back", call);
    with_stack(|stack| stack.truncate(stack.len().saturating_sub(1)));
}

/// How many call-backs of `id` this thread is inside of.
pub(crate) fn inline_depth(id: usize) -> usize {
    with_stack(|stack| stack.iter().filter(|(entered, _)| *entered == id).count())
}

/// Whether this thread is inside a call-back in which claims are refused.
#[inline]
pub(crate) fn nesting_refused() -> bool {
    with_stack(|stack| stack.iter().any(|(_, nesting)| *nesting == Nesting::Refused))
}

/// A thread that is ending has no stack any more; it is then inside of nothing.
#[inline]
fn with_stack<T: Default>(f: impl FnOnce(&mut Vec<(usize, Nesting)>) -> T) -> T {
    ON_THIS_STACK.try_with(|stack| f(&mut stack.borrow_mut())).unwrap_or_default()
}
