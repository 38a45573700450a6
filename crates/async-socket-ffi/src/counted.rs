//! Counted references that C holds as handles.
//!
//! They count like `Arc`. The difference is that an allocation that fails is `None`: `Arc::new` ends the process, and stable
//! Rust has no `Arc::try_new`.

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::process::abort;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One reference to a `T`. The last one drops it.
pub(crate) struct Counted<T> {
    object: NonNull<Object<T>>,
}

/// The value comes first, so that a pointer to the object is also a pointer to the value.
#[repr(C)]
struct Object<T> {
    value: T,
    references: AtomicUsize,
}

// SAFETY: a reference gives out `&T` on any thread, and the last one drops the `T` on its thread.
unsafe impl<T: Send + Sync> Send for Counted<T> {}

// SAFETY: as above; a `&Counted` can be cloned.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    /// Gives the reference to C. The pointer is not NULL.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut T {
        ManuallyDrop::new(self).object.as_ptr().cast()
    }

    /// Takes a reference back from C; `None` for NULL.
    ///
    /// # Safety
    /// `handle` is NULL or came from [`into_raw`](Self::into_raw), and its owner gives this reference up.
    #[inline]
    pub(crate) unsafe fn from_raw(handle: *mut T) -> Option<Self> {
        Some(Self { object: NonNull::new(handle.cast())? })
    }

    /// A reference of its own for the length of a call, because a callback inside the call may destroy the handle. `None`
    /// for NULL.
    ///
    /// # Safety
    /// `handle` is NULL or came from [`into_raw`](Self::into_raw), and its owner keeps it until this returns.
    #[inline]
    pub(crate) unsafe fn borrow(handle: *mut T) -> Option<Self> {
        // SAFETY: the owner's reference is only cloned, never dropped.
        let owners = ManuallyDrop::new(unsafe { Self::from_raw(handle) }?);
        Some(Self::clone(&owners))
    }

    /// How many references there are. If it is 1, what the others did happened before.
    pub(crate) fn references(&self) -> usize {
        self.object().references.load(Ordering::Acquire)
    }

    #[inline]
    fn object(&self) -> &Object<T> {
        // SAFETY: the object lives as long as this reference.
        unsafe { self.object.as_ref() }
    }
}

impl<T> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        // Beyond this limit a count could wrap around to 0, because C can add references without bound.
        const LIMIT: usize = usize::MAX / 2;
        if self.object().references.fetch_add(1, Ordering::Relaxed) > LIMIT {
            abort();
        }
        Self { object: self.object }
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        if self.object().references.fetch_sub(1, Ordering::Release) == 1 {
            // What other threads did with their references happens before the value is dropped. It is a load, not a fence,
            // because the thread sanitizer does not know fences.
            self.references();
            // SAFETY: this was the last reference.
            unsafe { free(self.object) };
        }
    }
}

/// # Safety
/// Nothing refers to the object any more.
#[cold]
unsafe fn free<T>(object: NonNull<Object<T>>) {
    // SAFETY: `Reserved` allocated it with the global allocator and the layout of the type, as a box does.
    drop(unsafe { Box::from_raw(object.as_ptr()) });
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.object().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Memory for a counted value. A caller reserves it before it takes anything over, so that a failure leaves everything as it
/// was.
pub(crate) struct Reserved<T> {
    memory: NonNull<Object<T>>,
}

impl<T> Reserved<T> {
    const LAYOUT: Layout = Layout::new::<Object<T>>();

    /// `None` if there is no memory.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: the count makes the size more than 0.
        let memory = unsafe { alloc(Self::LAYOUT) };
        Some(Self { memory: NonNull::new(memory.cast())? })
    }

    /// The first reference to `value`.
    pub(crate) fn fill(self, value: T) -> Counted<T> {
        let object = ManuallyDrop::new(self).memory;
        // SAFETY: the memory has the layout of the object, and nothing else refers to it.
        unsafe { object.write(Object { value, references: AtomicUsize::new(1) }) };
        Counted { object }
    }
}

impl<T> Drop for Reserved<T> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and never filled.
        unsafe { dealloc(self.memory.as_ptr().cast(), Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Reserved};
    use std::ptr::null_mut;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn the_value_lives_until_the_last_reference_is_given_up() {
        let value = Arc::new(7);
        let handle = Reserved::new().unwrap().fill(Arc::clone(&value)).into_raw();
        // SAFETY: a reference that has not been given up.
        let borrowed = unsafe { Counted::borrow(handle) }.unwrap();
        assert_eq!((**borrowed, borrowed.references()), (7, 2));
        // SAFETY: the handle is not used again.
        drop(unsafe { Counted::from_raw(handle) });
        assert_eq!((Arc::strong_count(&value), borrowed.references()), (2, 1));
        thread::spawn(move || drop(borrowed)).join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn null_is_no_reference() {
        // SAFETY: NULL is allowed.
        assert!(unsafe { Counted::<u8>::borrow(null_mut()) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { Counted::<u8>::from_raw(null_mut()) }.is_none());
    }

    #[test]
    fn memory_that_is_not_filled_is_given_back() {
        drop(Reserved::<[u64; 32]>::new().unwrap());
    }
}
