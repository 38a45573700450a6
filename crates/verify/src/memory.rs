//! The allocator of these programs. It counts allocated bytes, and fails on threads that ask for failure.
#![allow(unsafe_code, reason = "a global allocator can only be written so")]

use parking_lot::{Condvar, Mutex};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;
use test_doubles::FailingAllocator;

static BYTES: AtomicIsize = AtomicIsize::new(0);

/// [`FailingAllocator`] that keeps the balance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Balance;

// SAFETY: every method delegates to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Balance {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about the layout are passed on.
        let pointer = unsafe { FailingAllocator.alloc(layout) };
        if !pointer.is_null() {
            add(layout.size());
        }
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the pointer came from the same allocator, with this layout.
        let moved = unsafe { FailingAllocator.realloc(pointer, layout, size) };
        if !moved.is_null() {
            take(layout.size());
            add(size);
        }
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the same allocator, with this layout.
        unsafe { FailingAllocator.dealloc(pointer, layout) };
        take(layout.size());
    }
}

fn add(bytes: usize) {
    BYTES.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
}

fn take(bytes: usize) {
    BYTES.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
}

/// The number of bytes allocated now. It is 0 unless [`Balance`] is the program's allocator.
#[must_use]
pub fn allocated() -> usize {
    BYTES.load(Ordering::Relaxed).max(0).cast_unsigned()
}

/// Makes the calling thread allocate its one-time memory now, so that a lock that it waits for later needs none.
pub fn settle_this_thread() {
    let never = Mutex::new(());
    Condvar::new().wait_for(&mut never.lock(), Duration::from_nanos(1));
}
