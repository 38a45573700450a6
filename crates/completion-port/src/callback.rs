//! Runs foreign code: panics are caught, and a thread knows which callbacks it is in.
//!
//! Invariants:
//! * No thread-local here has a destructor, so all of this works until the very end of a thread or process.
//! * [`depth`] is exact: it returns the number of a registration's counted callbacks, dispatches and steps that are on this
//!   thread's stack. A removal waits for all other counted ones.

use crate::sync::per_thread;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

per_thread! {
    /// The registration that this port thread dispatches, or 0.
    static IN_DISPATCH: Cell<usize> = const { Cell::new(0) };
    /// The registration that has counted the callback of the outermost claim on this thread's stack, or 0.
    static IN_CLAIM_CALLBACK: Cell<usize> = const { Cell::new(0) };
    /// Set inside a claim's callback. Also set until the thread has a mark, so that the usual path checks nothing else.
    static REFUSES_CLAIMS: Cell<bool> = const { Cell::new(true) };
    /// The number that this thread stores in a lane that it has claimed. 0 until its first claim.
    static MARK: Cell<u64> = const { Cell::new(0) };
    /// On the thread of a port that counts: the longest callback since the last look. `None` elsewhere.
    static LONGEST: Cell<Option<Duration>> = const { Cell::new(None) };
    /// What `IN_DISPATCH` and `IN_CLAIM_CALLBACK` cannot say.
    static NESTED: RefCell<Nested> = const { RefCell::new(Nested::new()) };
}

/// Runs user code; a panic is logged and ends here.
// Codes_SRS_COMPLETION_PORT_01_041
#[inline(always)]
pub(crate) fn run_caught<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    // The value is not returned through `catch_unwind`, because that passes it through memory.
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
    log_caught(|| tracing::error!(what, message, "panic caught"));
    drop_caught(payload);
}

/// Writes to the log. A subscriber is foreign code and may panic. The panic is dropped silently, because the log is what
/// has failed.
// Codes_SRS_COMPLETION_PORT_01_110
pub fn log_caught(log: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(log)) {
        drop_caught(payload);
    }
}

/// Drops the payload of a panic, which is user code too and may panic again.
#[cold]
fn drop_caught(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

/// Measures how long a callback takes, also if it panics, on the thread of a port that counts.
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> T {
    let _timing = LONGEST.get().map(|_| Timing(Instant::now()));
    call()
}

struct Timing(Instant);

impl Drop for Timing {
    fn drop(&mut self) {
        let took = self.0.elapsed();
        // Codes_SRS_COMPLETION_PORT_01_189
        LONGEST.set(LONGEST.get().map(|longest| longest.max(took)));
    }
}

/// Begins or ends the measuring on this thread. Returns what was there before.
pub(crate) fn replace_longest(longest: Option<Duration>) -> Option<Duration> {
    LONGEST.replace(longest)
}

/// Dispatches registration `id` on its port's thread. The registration has counted the dispatch, which catches panics
/// itself.
#[inline]
pub(crate) fn run_in_dispatch<T>(id: usize, dispatch: impl FnOnce() -> T) -> T {
    IN_DISPATCH.set(id);
    let result = dispatch();
    IN_DISPATCH.set(0);
    result
}

/// Lets a thread dispatch a port inside a dispatch of another. The outer registration still counts for [`depth`].
pub(crate) struct Suspended(usize);

impl Suspended {
    pub(crate) fn new() -> Self {
        let outer = IN_DISPATCH.replace(0);
        // Codes_SRS_COMPLETION_PORT_01_176
        if outer != 0 {
            enter(outer);
        }
        Self(outer)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        if self.0 != 0 {
            leave();
        }
        IN_DISPATCH.set(self.0);
    }
}

/// Runs the callback of a claim inside a dispatch of its registration. That dispatch is counted already. Claims are refused
/// in the callback.
#[inline(always)]
pub(crate) fn run_in_claim(end_claim: impl FnOnce(), call: impl FnOnce()) {
    let refused = REFUSES_CLAIMS.get();
    // Codes_SRS_COMPLETION_PORT_01_024
    REFUSES_CLAIMS.set(true);
    end_claim();
    run_caught("callback", call);
    REFUSES_CLAIMS.set(refused);
}

/// [`run_in_claim`] outside of a dispatch. The registration has counted the callback.
#[inline]
pub(crate) fn run_in_counted_claim(id: usize, end_claim: impl FnOnce(), call: impl FnOnce()) {
    // A claim that was taken earlier can be completed inside the callback of another claim.
    let is_outermost = IN_CLAIM_CALLBACK.get() == 0;
    if is_outermost {
        IN_CLAIM_CALLBACK.set(id);
    } else {
        enter(id);
    }
    run_in_claim(end_claim, call);
    if is_outermost {
        IN_CLAIM_CALLBACK.set(0);
    } else {
        leave();
    }
}

/// Whether this thread dispatches registration `id`.
#[inline]
pub(crate) fn is_in_dispatch(id: usize) -> bool {
    IN_DISPATCH.get() == id
}

/// Whether this thread is in a callback in which claims are refused. Refusing them keeps a chain of callbacks from needing
/// more stack than one.
#[inline(always)]
pub(crate) fn claims_refused() -> bool {
    REFUSES_CLAIMS.get() && !is_first_claim()
}

#[cold]
fn is_first_claim() -> bool {
    let is_first = MARK.get() == 0;
    if is_first {
        static NEXT: AtomicU64 = AtomicU64::new(u64::MAX - 1);
        MARK.set(NEXT.fetch_sub(1, Ordering::Relaxed));
        REFUSES_CLAIMS.set(false);
    }
    is_first
}

/// A number that belongs to this thread alone, counted downwards from below `u64::MAX`. 0 for a thread that has never
/// claimed anything.
#[inline(always)]
pub(crate) fn mark() -> u64 {
    MARK.get()
}

/// The number of counted callbacks, dispatches and steps of registration `id` on this thread's stack.
pub(crate) fn depth(id: usize) -> u32 {
    let nested = NESTED.with_borrow(|nested| nested.count(id));
    nested + u32::from(IN_DISPATCH.get() == id) + u32::from(IN_CLAIM_CALLBACK.get() == id)
}

/// Notes that this thread enters a callback or step that registration `id` has counted, until [`leave`].
pub(crate) fn enter(id: usize) {
    NESTED.with_borrow_mut(|nested| nested.push(id));
}

/// The end of what was entered last.
pub(crate) fn leave() {
    NESTED.with_borrow_mut(Nested::pop);
}

/// A stack of registrations. The first few need no allocation. The stack is never dropped, so a thread has no destructor to
/// run for it. Its allocation is freed when `more` becomes empty.
// Codes_SRS_COMPLETION_PORT_01_080
struct Nested {
    few: [usize; FEW],
    len: usize,
    more: ManuallyDrop<Vec<usize>>,
    /// The number of entries that could not be noted, because there was no memory. Each may be of any registration.
    unknown: u32,
}

const FEW: usize = 8;

impl Nested {
    const fn new() -> Self {
        Self { few: [0; FEW], len: 0, more: ManuallyDrop::new(Vec::new()), unknown: 0 }
    }

    fn push(&mut self, id: usize) {
        if let Some(free) = self.few.get_mut(self.len) {
            *free = id;
            self.len += 1;
        } else if self.unknown == 0 && self.more.try_reserve(1).is_ok() {
            // Codes_SRS_COMPLETION_PORT_01_100
            self.more.push(id);
        } else {
            self.unknown += 1;
        }
    }

    fn pop(&mut self) {
        if self.unknown > 0 {
            self.unknown -= 1;
        } else if self.more.pop().is_none() {
            self.len = self.len.saturating_sub(1);
        } else if self.more.is_empty() {
            drop(mem::take(&mut *self.more));
        }
    }

    /// Unknown entries count for every registration, so that a removal never waits for itself.
    fn count(&self, id: usize) -> u32 {
        let noted = self.few.iter().take(self.len).chain(self.more.iter()).filter(|noted| **noted == id).count();
        u32::try_from(noted).unwrap_or(u32::MAX).saturating_add(self.unknown)
    }
}
