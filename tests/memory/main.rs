//! The memory that the library keeps, and its behaviour without memory. A binary of its own, because its allocator
//! counts and can fail.
//!
//! Every test here holds [`alone`](integration_tests::process::alone), because the allocator counts for the whole process.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod after_a_burst;
mod flat_cycles;
mod port_out_of_memory;

use integration_tests::LIMIT;
use integration_tests::wait::comes_true;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicIsize, Ordering};
use test_doubles::FailingAllocator;

/// An allocator that can fail, and counts the bytes in use.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every method hands over to an allocator that keeps the promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about the layout are passed on.
        let pointer = unsafe { FailingAllocator.alloc(layout) };
        if !pointer.is_null() {
            BYTES.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: what `alloc` returned came from that allocator, with this layout.
        unsafe { FailingAllocator.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many bytes are in use.
fn bytes() -> isize {
    BYTES.load(Ordering::Relaxed)
}

/// The most memory that a socket and its port may keep beyond their memory when they were new.
const LITTLE: isize = 2048;

/// Waits until hardly more memory is in use than before.
fn as_before(before: isize, what: &str) {
    let little = comes_true(LIMIT, || bytes() - before <= LITTLE);
    assert!(little, "{what}: {} bytes more", bytes() - before);
}
