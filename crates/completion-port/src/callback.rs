//! Running other people's code: panics stay inside, and a thread knows whose call-backs it is in.

use crate::sync::per_thread;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

per_thread! {
    /// The registration that has its turn on this thread, a port's, or 0. There is never a second one.
    static IN_PORT_CALLBACK: Cell<usize> = const { Cell::new(0) };
    /// The registration whose claim's call-back is on this thread's stack, or 0. There is never a second one, for claims
    /// are refused inside.
    static IN_CLAIM_CALLBACK: Cell<usize> = const { Cell::new(0) };
    /// The registrations whose announced call-backs are on this thread's stack. Of more than so many inside each other
    /// the innermost are not noted, and a removal from within would wait for them; but nothing is ever allocated.
    static IN_ANNOUNCED: RefCell<([usize; 64], usize)> = const { RefCell::new(([0; 64], 0)) };
}

/// Runs user code; a panic is logged and ends here.
// Codes_SRS_COMPLETION_PORT_01_041
#[inline(always)]
pub(crate) fn run_caught<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    // Not returned through `catch_unwind`, which passes what it returns through memory.
    let mut value = None;
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| value = Some(call()))) {
        caught(what, payload);
    }
    value
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

/// Runs a turn of registration `id`, which catches what panics, on its port's thread.
#[inline]
pub(crate) fn run_in_port<T>(id: usize, turn: impl FnOnce() -> T) -> T {
    IN_PORT_CALLBACK.set(id);
    let over = turn();
    IN_PORT_CALLBACK.set(0);
    over
}

/// Runs a call-back of a claim of registration `id` on its caller's thread.
#[inline(always)]
pub(crate) fn run_in_claim(id: usize, call: impl FnOnce()) {
    IN_CLAIM_CALLBACK.set(id);
    run_caught("call-back", call);
    IN_CLAIM_CALLBACK.set(0);
}

/// Runs a call-back that registration `id` has counted, on its caller's thread.
pub(crate) fn run_announced(id: usize, call: impl FnOnce()) {
    let noted = IN_ANNOUNCED.with_borrow_mut(|(announced, depth)| {
        let free = announced.get_mut(*depth);
        *depth += usize::from(free.is_some());
        free.map(|free| *free = id).is_some()
    });
    run_caught("call-back", call);
    if noted {
        IN_ANNOUNCED.with_borrow_mut(|(_, depth)| *depth -= 1);
    }
}

/// Whether this thread is in a call-back of registration `id` that its port runs.
#[inline]
pub(crate) fn is_in_port_callback(id: usize) -> bool {
    IN_PORT_CALLBACK.get() == id
}

/// Whether this thread is in a call-back in which claims are refused, so that a chain of them needs no more stack than
/// one.
#[inline]
pub(crate) fn claims_refused() -> bool {
    IN_CLAIM_CALLBACK.get() != 0
}

/// How many call-backs of registration `id`, of those that it counts, this thread is inside of.
pub(crate) fn depth(id: usize) -> u32 {
    let announced = IN_ANNOUNCED
        .with_borrow(|(announced, depth)| announced.iter().take(*depth).filter(|entered| **entered == id).count());
    // A claim's call-back is not counted inside the port's.
    let other = IN_PORT_CALLBACK.get() == id || IN_CLAIM_CALLBACK.get() == id;
    u32::try_from(announced).unwrap_or(u32::MAX) + u32::from(other)
}
