//! An allocator that has no memory for threads that ask for none.
#![allow(unsafe_code, reason = "a global allocator can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

thread_local! {
    static MEMORY: Cell<bool> = const { Cell::new(true) };
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
        if !has_memory() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises about the layout are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !has_memory() {
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
    MEMORY.set(available);
}

/// Makes a call during which the calling thread gets no memory.
pub fn without_memory<T>(call: impl FnOnce() -> T) -> T {
    set_memory(false);
    let result = call();
    set_memory(true);
    result
}

/// Makes a call during which the calling thread gets memory, whatever was said.
pub fn with_memory<T>(call: impl FnOnce() -> T) -> T {
    let before = MEMORY.replace(true);
    let result = call();
    MEMORY.set(before);
    result
}

/// A thread that is ending has no such setting any more, but memory.
fn has_memory() -> bool {
    MEMORY.try_with(Cell::get).unwrap_or(true)
}
