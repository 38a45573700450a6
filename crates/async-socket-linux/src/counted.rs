//! A counted reference that can fail to be made. `Arc::new` ends the process when memory runs out, and stable Rust has no
//! other way to make an `Arc`.
//!
//! Invariant: `count` is the number of references to the allocation. The last one that is dropped frees it.
#![allow(unsafe_code, reason = "several owners of one allocation need a pointer")]

use completion_port::memory::try_box;
use std::ops::Deref;
use std::process::abort;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// The standard library's limit too. Only references that are forgotten on purpose can come so far.
const MOST_REFERENCES: usize = isize::MAX as usize;

/// One of several owners of a value.
pub(crate) struct Counted<T>(NonNull<[Inner<T>; 1]>);

struct Inner<T> {
    count: AtomicUsize,
    value: T,
}

// SAFETY: references on two threads share the value, and the last one drops it on its thread: as `Arc`.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as above, because a shared reference can be cloned.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    /// The first reference; `None` if there is no memory.
    pub(crate) fn try_new(value: T) -> Option<Self> {
        let inner = try_box(Inner { count: AtomicUsize::new(1), value }).ok()?;
        Some(Self(NonNull::from(Box::leak(inner))))
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: it lives until the last reference is dropped, and is only shared until then.
        let [inner] = unsafe { self.0.as_ref() };
        inner
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Self {
        // Relaxed, because the new reference is made from one that keeps the value alive.
        if self.inner().count.fetch_add(1, Ordering::Relaxed) > MOST_REFERENCES {
            abort();
        }
        Self(self.0)
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        // Release, so that the use through this reference comes before the drop of the value.
        if self.inner().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: it came from a box, and no other reference is left.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}
