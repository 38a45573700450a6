//! A counted reference whose allocation can be refused.
//!
//! Invariant: a [`TryArc`] points to a live value until its own drop, because the value is freed by the last reference.
#![allow(unsafe_code, reason = "stable Rust has no reference-counted pointer whose allocation can be refused")]

use crate::source::Source;
use std::alloc::{self, Layout, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, forget, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

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
pub struct Reserved<T> {
    room: Memory,
    of: PhantomData<T>,
}

/// An allocation, which is freed when this is dropped.
struct Memory {
    begin: NonNull<u8>,
    layout: Layout,
}

// SAFETY: nothing else refers to the allocation, and its bytes have no type.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared reference gives no access to the bytes.
unsafe impl Sync for Memory {}

impl Memory {
    /// `None` if there is none.
    fn try_new(layout: Layout) -> Option<Self> {
        // SAFETY: the layout has a size, because a `Counted` has a counter.
        let begin = unsafe { alloc::alloc(layout) };
        // Codes_SRS_COMPLETION_PORT_01_135, Codes_SRS_COMPLETION_PORT_01_137
        Some(Self { begin: NonNull::new(begin)?, layout })
    }

    /// The memory of a counted value. What it returns frees it.
    ///
    /// # Safety
    /// `Reserved` has allocated it, and nothing uses the allocation afterwards.
    unsafe fn of<T: ?Sized>(counted: NonNull<Counted<T>>) -> Self {
        // SAFETY: the metadata of a pointer to a value that was alive is valid, and so is its layout.
        let layout = aligned(Layout::for_value(unsafe { counted.as_ref() }));
        Self { begin: counted.cast(), layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { alloc::dealloc(self.begin.as_ptr(), self.layout) };
    }
}

/// A value of two to eight cache lines begins one, so that it can lie in as few lines as possible. A larger value has many lines
/// anyway, and an allocator takes longer to align it.
const fn aligned(layout: Layout) -> Layout {
    const LINE: usize = 64;
    let is_small = layout.size() >= 2 * LINE && layout.size() <= 8 * LINE;
    match layout.align_to(LINE) {
        Ok(aligned) if is_small => aligned,
        _ => layout,
    }
}

impl<T> Reserved<T> {
    /// `None` if there is no memory.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        Some(Self { room: Memory::try_new(aligned(Layout::new::<Counted<T>>()))?, of: PhantomData })
    }

    /// The first reference to the value.
    #[must_use]
    pub fn fill(self, value: T) -> TryArc<T> {
        let counted = self.room.begin.cast::<Counted<T>>();
        forget(self);
        // SAFETY: allocated with the layout of one `Counted<T>`, and given up by `self`.
        unsafe { counted.write(Counted { references: AtomicUsize::new(1), value }) };
        TryArc::of(counted)
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
        forget(this);
        if !Self::is_last(counted) {
            return None;
        }
        // SAFETY: `Reserved` has allocated it, and this was the last reference.
        let _memory = unsafe { Memory::of(counted) };
        // SAFETY: the last reference owns the value, which is not used where it was any more.
        Some(unsafe { counted.read() }.value)
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
            // Orders all accesses of other threads to the value before its drop. Not a fence, because the thread sanitizer does not
            // understand one.
            references.load(Ordering::Acquire);
        }
        is_last
    }
}

impl<T: Source + 'static> From<TryArc<T>> for TryArc<dyn Source> {
    fn from(concrete: TryArc<T>) -> Self {
        let counted: NonNull<Counted<dyn Source>> = concrete.counted;
        forget(concrete);
        Self::of(counted)
    }
}

impl<T: ?Sized> Clone for TryArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        // Codes_SRS_COMPLETION_PORT_01_003
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
            // SAFETY: `Reserved` has allocated it, and this was the last reference. The memory is freed at the end, also if the
            // drop panics.
            let _memory = unsafe { Memory::of(self.counted) };
            // SAFETY: the last reference owns the value.
            unsafe { self.counted.drop_in_place() };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn begin<T>(value: &TryArc<T>) -> usize {
        value.counted.addr().get()
    }

    #[test]
    fn a_large_value_begins_a_cache_line_and_others_take_no_more_than_they_need() {
        assert_eq!(aligned(Layout::new::<Counted<[u8; 600]>>()), Layout::new::<Counted<[u8; 600]>>());
        assert_eq!(aligned(Layout::new::<Counted<[u8; 100]>>()), Layout::new::<Counted<[u8; 100]>>());
        let size = Layout::new::<Counted<[u8; 120]>>().size();
        assert_eq!(aligned(Layout::new::<Counted<[u8; 120]>>()).size(), size, "nothing is rounded up");
        let several: Vec<_> = (0..20_u8).map(|number| TryArc::new([number; 120])).collect();
        for (value, number) in several.iter().zip(0..) {
            assert_eq!(begin(value) % 64, 0);
            assert_eq!(**value, [number; 120]);
        }
    }
}
