//! Memory that is known only by a pointer. The C ABI is built on this `unsafe` interface.
//!
//! This is the only module of this crate with `unsafe` code. [`RawBuffers`] and [`RawSlice`] are lists of buffers like any
//! other, and go through the same checks and the same calls.
#![allow(unsafe_code, reason = "turns the caller's pointers into slices, under the contract of `RawBuffers::copied`")]

use crate::buffers::sealed::OnlyThisCrate;
use crate::{IoBufs, IoBufsMut, PayloadError};
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::slice;

/// A pointer and a length in bytes: one buffer as a C caller describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawBuffer {
    /// The first byte.
    pub pointer: *mut u8,
    /// How many bytes.
    pub length: u32,
}

// SAFETY: a pointer and a number. The contract of `RawBuffers::copied` says what may be done with the memory.
unsafe impl Send for RawBuffer {}

/// One checked [`RawBuffer`], whose memory stays the caller's. Its type says that it is a list of one, so no code looks
/// for a second buffer.
#[derive(Debug)]
pub struct RawSlice {
    pointer: NonNull<u8>,
    length: NonZeroU32,
}

// SAFETY: a pointer and a number. The contract of `RawSlice::checked` says what may be done with the memory.
unsafe impl Send for RawSlice {}

impl RawSlice {
    /// Checks the caller's buffer.
    ///
    /// # Errors
    /// [`PayloadError`]: a null pointer, or an empty buffer.
    ///
    /// # Safety
    /// That of [`RawBuffers::copied`], for a list of this buffer.
    #[inline(always)]
    pub unsafe fn checked(buffer: RawBuffer) -> Result<Self, PayloadError> {
        let length = RawBuffers::check(slice::from_ref(&buffer))?;
        let pointer = NonNull::new(buffer.pointer).ok_or(PayloadError::NullBuffer { index: 0 })?;
        let length = NonZeroU32::new(length).ok_or(PayloadError::EmptyBuffer { index: 0 })?;
        Ok(Self { pointer, length })
    }
}

impl IoBufs for RawSlice {
    #[inline]
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        // SAFETY: valid for reads of `length` bytes by `checked`'s contract.
        let slice = || unsafe { slice::from_raw_parts(self.pointer.as_ptr(), self.length.get() as usize) };
        (first == 0).then(slice).into_iter()
    }

    #[inline]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        Some(self.length.get())
    }
}

impl IoBufsMut for RawSlice {
    #[inline]
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        // SAFETY: valid for writes of `length` bytes by `checked`'s contract. `&mut self` excludes a second slice.
        let slice = || unsafe { slice::from_raw_parts_mut(self.pointer.as_ptr(), self.length.get() as usize) };
        (first == 0).then(slice).into_iter()
    }

    #[inline]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        Some(self.length.get())
    }
}

/// A checked list of [`RawBuffer`]s whose memory stays the caller's.
///
/// The list of pointers and lengths is copied, so the caller's array may go away as soon as the call returns. The bytes stay
/// the caller's, and are neither copied nor freed.
#[derive(Debug)]
pub struct RawBuffers {
    list: List,
    total_length: u32,
}

/// A list of one needs no memory of its own.
#[derive(Debug)]
enum List {
    One(RawBuffer),
    Many(Box<[RawBuffer]>),
}

impl RawBuffers {
    /// Checks and copies the caller's list.
    ///
    /// # Errors
    /// [`PayloadError`]: an empty list, a null pointer, an empty buffer, more than `u32::MAX`
    /// bytes, or no memory for the copy of the list.
    ///
    /// # Safety
    /// Until the returned value is dropped:
    /// * If the buffers are sent from, each `pointer` is valid for reads of `length` bytes, and no other code writes to
    ///   them.
    /// * If they are received into, each `pointer` is valid for writes of `length` bytes, the buffers are disjoint, and
    ///   no other code reads them or writes to them.
    #[inline(always)]
    pub unsafe fn copied(list: &[RawBuffer]) -> Result<Self, PayloadError> {
        match list {
            [one] => {
                let total_length = Self::check(slice::from_ref(one))?;
                Ok(Self { list: List::One(*one), total_length })
            }
            many => Self::copied_many(many),
        }
    }

    #[cold]
    fn copied_many(list: &[RawBuffer]) -> Result<Self, PayloadError> {
        let total_length = Self::check(list)?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(list.len()).map_err(|_| PayloadError::OutOfMemory { count: list.len() })?;
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_074
        copy.extend_from_slice(list);
        Ok(Self { list: List::Many(copy.into_boxed_slice()), total_length })
    }

    #[inline]
    fn list(&self) -> &[RawBuffer] {
        match &self.list {
            List::One(buffer) => slice::from_ref(buffer),
            List::Many(buffers) => buffers,
        }
    }
}

impl IoBufs for RawBuffers {
    #[inline]
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        self.list().get(first..).unwrap_or_default().iter().map(|buffer| {
            // SAFETY: not null (checked) and valid for reads of `length` bytes by `copied`'s contract.
            unsafe { slice::from_raw_parts(buffer.pointer, buffer.length as usize) }
        })
    }

    #[inline]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        Some(self.total_length)
    }
}

impl IoBufsMut for RawBuffers {
    #[inline]
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        self.list().get(first..).unwrap_or_default().iter().map(|buffer| {
            // SAFETY: not null (checked), valid for writes of `length` bytes and disjoint from the others by `copied`'s
            // contract. `&mut self` excludes a second iterator.
            unsafe { slice::from_raw_parts_mut(buffer.pointer, buffer.length as usize) }
        })
    }

    #[inline]
    fn checked_length(&self, _: OnlyThisCrate) -> Option<u32> {
        Some(self.total_length)
    }
}
