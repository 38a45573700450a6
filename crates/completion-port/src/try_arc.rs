//! A counted reference whose allocation can be refused.
//!
//! Invariant: a [`TryArc`] points to a live value until its own drop, because the value is freed by the last reference.
#![allow(unsafe_code, reason = "stable Rust has no reference-counted pointer whose allocation can be refused")]

use crate::room::Room;
use crate::source::Source;
use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// A counted reference like [`std::sync::Arc`]. Making one without memory is an error. It has no weak references.
///
/// ```
/// use completion_port::memory::TryArc;
///
/// let one = TryArc::try_new(String::from("shared")).expect("there is memory");
/// let two = one.clone();
/// assert_eq!(TryArc::into_inner(one), None);
/// assert_eq!(TryArc::into_inner(two).as_deref(), Some("shared"));
/// ```
pub struct TryArc<T: ?Sized> {
    counted: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

#[repr(C)]
struct Counted<T: ?Sized> {
    references: AtomicUsize,
    value: T,
}

/// Memory for a [`TryArc`]. A caller can make sure that there is memory before it takes the value over.
pub struct Reserved<T>(Vec<Counted<T>>);

impl<T> Reserved<T> {
    /// `None` if there is no memory.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        Room::try_with_capacity(1).map(|room| Self(room.into_vec()))
    }

    /// The first reference to the value.
    #[must_use]
    pub fn fill(self, value: T) -> TryArc<T> {
        let mut room = self.0;
        room.push(Counted { references: AtomicUsize::new(1), value });
        TryArc::of(NonNull::from(Box::leak(room.into_boxed_slice())).cast())
    }
}

impl<T> fmt::Debug for Reserved<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

/// Only a program that forgets references in a loop exceeds this number.
const MOST_REFERENCES: usize = isize::MAX as usize;

// SAFETY: a reference gives shared access to the value on every thread, and the last one drops it there.
unsafe impl<T: ?Sized + Send + Sync> Send for TryArc<T> {}
// SAFETY: as above; a `&TryArc` can be cloned.
unsafe impl<T: ?Sized + Send + Sync> Sync for TryArc<T> {}

// A reference can move, while its value stays.
impl<T: ?Sized> Unpin for TryArc<T> {}

impl<T> TryArc<T> {
    /// The first reference to the value.
    ///
    /// # Errors
    /// The value, if there is no memory.
    // Codes_SRS_COMPLETION_PORT_01_135
    pub fn try_new(value: T) -> Result<Self, T> {
        match Reserved::try_new() {
            Some(reserved) => Ok(reserved.fill(value)),
            None => Err(value),
        }
    }

    /// [`try_new`](Self::try_new) for callers that cannot fail: without memory it ends the process, as `Arc::new` does.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self::try_new(value).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Counted<T>>()))
    }

    /// The value, if this is the last reference. If several threads give up their references at the same time, exactly one
    /// gets the value.
    #[must_use]
    pub fn into_inner(this: Self) -> Option<T> {
        let counted = this.counted;
        std::mem::forget(this);
        if !Self::is_last(counted) {
            return None;
        }
        // SAFETY: the last reference owns the allocation, which `Reserved` made with the layout of one `Counted<T>`.
        Some(unsafe { Box::from_raw(counted.as_ptr()) }.value)
    }

    /// Gives the reference away as a pointer to the value.
    #[must_use]
    pub fn into_raw(this: Self) -> *const T {
        let counted = ManuallyDrop::new(this).counted;
        // SAFETY: the allocation lives; no reference is made.
        unsafe { &raw const (*counted.as_ptr()).value }
    }

    /// Takes the reference back that [`into_raw`](Self::into_raw) gave away.
    ///
    /// # Safety
    /// `value` came from `into_raw`, and its reference is given up by this call.
    #[must_use]
    pub unsafe fn from_raw(value: *const T) -> Self {
        // SAFETY: the value lies in a `Counted`, so the pointer stays in the allocation.
        let counted = unsafe { value.byte_sub(offset_of!(Counted<T>, value)) };
        // SAFETY: a pointer into an allocation is not null.
        Self::of(unsafe { NonNull::new_unchecked(counted.cast_mut().cast()) })
    }
}

impl<T: ?Sized> TryArc<T> {
    const fn of(counted: NonNull<Counted<T>>) -> Self {
        Self { counted, owns: PhantomData }
    }

    /// The number of references at this moment. If it is 1, everything that other references were used for happened before.
    #[must_use]
    pub fn references(this: &Self) -> usize {
        this.counted().references.load(Ordering::Acquire)
    }

    #[inline]
    fn counted(&self) -> &Counted<T> {
        // SAFETY: the value lives as long as this reference.
        unsafe { self.counted.as_ref() }
    }

    /// Gives a reference up. Returns whether it was the last.
    #[inline]
    fn is_last(counted: NonNull<Counted<T>>) -> bool {
        // SAFETY: the reference that is given up has kept the value until here.
        let references = unsafe { &(*counted.as_ptr()).references };
        let is_last = references.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            // Orders all accesses of other threads to the value before its drop.
            fence(Ordering::Acquire);
        }
        is_last
    }
}

impl<T: Source + 'static> From<TryArc<T>> for TryArc<dyn Source> {
    fn from(concrete: TryArc<T>) -> Self {
        let counted: NonNull<Counted<dyn Source>> = concrete.counted;
        std::mem::forget(concrete);
        Self::of(counted)
    }
}

impl<T: ?Sized> Clone for TryArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        if self.counted().references.fetch_add(1, Ordering::Relaxed) > MOST_REFERENCES {
            std::process::abort();
        }
        Self::of(self.counted)
    }
}

impl<T: ?Sized> Drop for TryArc<T> {
    #[inline]
    fn drop(&mut self) {
        if Self::is_last(self.counted) {
            // SAFETY: as in `into_inner`; a trait object knows the layout of its value.
            drop(unsafe { Box::from_raw(self.counted.as_ptr()) });
        }
    }
}

impl<T: ?Sized> Deref for TryArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for TryArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
