//! An allocator that fails on threads that ask for failure.
#![allow(unsafe_code, reason = "a global allocator can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::Mutex;

thread_local! {
    /// The bytes that one allocation may have.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };

    /// The counter of this thread's allocations, if it has one. A new thread begins with the counter in `NEW_THREADS`.
    static COUNTER: Cell<Option<Counter>> = const { Cell::new(None) };

    static IS_NEW: Cell<bool> = const { Cell::new(true) };
}

/// Counts allocations. Those between `first` and `last` fail.
#[derive(Debug, Clone, Copy)]
struct Counter {
    tried: usize,
    first: usize,
    last: usize,
    is_of_new_thread: bool,
}

/// The counter that new threads begin with, and the most allocations that one of them has tried.
static NEW_THREADS: Mutex<Option<(Counter, usize)>> = Mutex::new(None);

/// The system's allocator, until a thread asks for failure. Use it in a test binary of its own:
///
/// ```
/// use test_doubles::{FailingAllocator, failing_nth, without_memory};
///
/// #[global_allocator]
/// static ALLOCATOR: FailingAllocator = FailingAllocator;
///
/// assert!(without_memory(|| Vec::<u8>::new().try_reserve(1)).is_err());
/// assert!(Vec::<u8>::new().try_reserve(1).is_ok());
///
/// // The second allocation fails, and no other.
/// let (reserved, tried) = failing_nth(2, || [1, 1, 1].map(|more| Vec::<u8>::new().try_reserve(more).is_ok()));
/// assert_eq!((reserved, tried), ([true, false, true], 3));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FailingAllocator;

// SAFETY: every method hands over to the system's allocator, or returns null, which means "no memory".
unsafe impl GlobalAlloc for FailingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !has_memory(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises about the layout are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !has_memory(size) {
            return ptr::null_mut();
        }
        // SAFETY: what `alloc` returned came from the system's allocator, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: what `alloc` returned came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Sets whether the calling thread gets memory from now on.
pub fn set_memory(available: bool) {
    LARGEST.set(if available { usize::MAX } else { 0 });
}

/// Makes a call during which the calling thread gets no memory.
pub fn without_memory<T>(call: impl FnOnce() -> T) -> T {
    set_memory(false);
    let result = call();
    set_memory(true);
    result
}

/// Makes a call during which the calling thread gets at most `bytes` bytes at once.
pub fn without_memory_beyond<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    within(bytes, call)
}

/// Makes a call during which the calling thread gets memory, whatever was set before. Its allocations are not counted.
pub fn with_memory<T>(call: impl FnOnce() -> T) -> T {
    let counter = COUNTER.replace(None);
    let result = within(usize::MAX, call);
    COUNTER.set(counter);
    result
}

fn within<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    let before = LARGEST.replace(bytes);
    let result = call();
    LARGEST.set(before);
    result
}

/// From now on, the calling thread's allocations are counted from 1, and those whose numbers are in `which` fail.
pub fn fail_allocations(which: RangeInclusive<usize>) {
    IS_NEW.set(false);
    COUNTER.set(Some(Counter { tried: 0, first: *which.start(), last: *which.end(), is_of_new_thread: false }));
}

/// [`fail_allocations`] for one allocation.
pub fn fail_nth_allocation(nth: usize) {
    fail_allocations(nth..=nth);
}

/// Ends the counting that [`fail_allocations`] began on the calling thread. Returns how many allocations were tried
/// since.
pub fn allocations_tried() -> usize {
    COUNTER.replace(None).map_or(0, |counter| counter.tried)
}

/// Makes a call in which only the `nth` allocation on the calling thread fails. Returns also how many allocations were
/// tried. If these are fewer than `nth`, none has failed.
pub fn failing_nth<T>(nth: usize, call: impl FnOnce() -> T) -> (T, usize) {
    fail_nth_allocation(nth);
    let result = call();
    (result, allocations_tried())
}

/// As [`fail_allocations`], for every thread that starts during `call`. Returns also the most allocations that one of
/// them has tried by the time `call` returns.
pub fn fail_allocations_of_new_threads<T>(which: RangeInclusive<usize>, call: impl FnOnce() -> T) -> (T, usize) {
    let counter = Counter { tried: 0, first: *which.start(), last: *which.end(), is_of_new_thread: true };
    // The calling thread is not new.
    IS_NEW.set(false);
    *NEW_THREADS.lock().expect("no panic with it") = Some((counter, 0));
    let result = call();
    let most = NEW_THREADS.lock().expect("no panic with it").take();
    (result, most.map_or(0, |(_, most)| most))
}

/// Whether an allocation succeeds. A thread that is ending has lost its setting, and gets memory.
fn has_memory(bytes: usize) -> bool {
    is_not_counted_out().unwrap_or(true) && LARGEST.try_with(|largest| bytes <= largest.get()).unwrap_or(true)
}

fn is_not_counted_out() -> Option<bool> {
    if IS_NEW.try_with(|is_new| is_new.replace(false)).ok()? {
        let counter = NEW_THREADS.lock().ok()?.as_ref().map(|(counter, _)| *counter);
        COUNTER.set(counter);
    }
    let mut counter = COUNTER.try_with(Cell::get).ok()??;
    counter.tried += 1;
    COUNTER.set(Some(counter));
    if counter.is_of_new_thread
        && let Some((_, most)) = NEW_THREADS.lock().ok()?.as_mut()
    {
        *most = counter.tried.max(*most);
    }
    Some(!(counter.first..=counter.last).contains(&counter.tried))
}
