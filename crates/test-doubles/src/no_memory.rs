//! An allocator that has no memory for threads that ask for none.
#![allow(unsafe_code, reason = "a global allocator can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

thread_local! {
    /// How many bytes one allocation may have.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Which allocations are counted, if any are.
    static COUNT: Cell<Option<Count>> = const { Cell::new(None) };
}

#[derive(Debug, Clone, Copy)]
struct Count {
    tried: usize,
    fails: usize,
}

/// The system's allocator, until a thread says that it shall get no memory. Put it in a test binary of its own:
///
/// ```
/// use test_doubles::{FailingAllocator, without_memory};
///
/// #[global_allocator]
/// static ALLOCATOR: FailingAllocator = FailingAllocator;
///
/// assert!(without_memory(|| Vec::<u8>::new().try_reserve(1)).is_err());
/// assert!(Vec::<u8>::new().try_reserve(1).is_ok());
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

/// Says whether the calling thread gets memory from now on.
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

/// Makes a call during which the calling thread gets no more than so many bytes at once.
pub fn without_memory_beyond<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    within(bytes, call)
}

/// Makes a call during which the calling thread gets memory, whatever was said, and nothing is counted.
pub fn with_memory<T>(call: impl FnOnce() -> T) -> T {
    let count = COUNT.take();
    let result = within(usize::MAX, call);
    if count.is_some() {
        COUNT.set(count);
    }
    result
}

/// Counts the allocations of the calling thread from now on; the `nth`, of which the first is 1, fails.
pub fn fail_nth_allocation(nth: usize) {
    COUNT.set(Some(Count { tried: 0, fails: nth }));
}

/// Ends what [`fail_nth_allocation`] began. How many allocations were tried.
pub fn allocations_tried() -> usize {
    COUNT.take().map_or(0, |count| count.tried)
}

/// Makes a call of which the `nth` allocation on the calling thread fails, counted from 1, and no other. How many it made
/// comes with the result; if these are fewer than `nth`, none has failed.
pub fn failing_nth<T>(nth: usize, call: impl FnOnce() -> T) -> (T, usize) {
    fail_nth_allocation(nth);
    let result = call();
    (result, allocations_tried())
}

fn within<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    let before = LARGEST.replace(bytes);
    let result = call();
    LARGEST.set(before);
    result
}

/// A thread that is ending has no such setting any more, but memory.
fn has_memory(bytes: usize) -> bool {
    let fits = LARGEST.try_with(|largest| bytes <= largest.get()).unwrap_or(true);
    let is_counted_out = COUNT.try_with(|count| {
        let counted = count.get().map(|it| Count { tried: it.tried + 1, ..it });
        count.set(counted);
        counted.is_some_and(|it| it.tried == it.fails)
    });
    fits && !is_counted_out.unwrap_or(false)
}
