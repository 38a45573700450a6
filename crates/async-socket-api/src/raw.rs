//! Memory that only a pointer knows: the `unsafe` entry on which the C ABI stands.
//!
//! The only module of this crate with `unsafe` code. A [`RawBuffers`] is a list of buffers like any
//! other and goes through the same checks and the same calls; there is no second way in.
#![allow(unsafe_code, reason = "turns the caller's pointers into slices, under the contract of `RawBuffers::copied`")]

use crate::{IoBufs, IoBufsMut, PayloadError};
use std::{ptr, slice};

/// A pointer and a length in bytes: one buffer as a C caller describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RawBuffer {
    /// The first byte.
    pub pointer: *mut u8,
    /// How many bytes.
    pub length: u32,
}

// SAFETY: a pointer and a number; what may be done with the memory is `RawBuffers::copied`'s contract.
unsafe impl Send for RawBuffer {}

/// A checked list of [`RawBuffer`]s whose memory stays the caller's.
///
/// The list of pointers and lengths is copied, so the caller's array may go away as soon as the
/// call returns; the bytes are the caller's and are neither copied nor freed.
///
/// Two words, for it is moved several times for each message: a list of one needs no memory of its own.
#[derive(Debug)]
pub struct RawBuffers {
    /// Of one buffer its bytes, of several the copy of the list, as a `Box<[RawBuffer]>`.
    memory: *mut u8,
    count: u32,
    total_length: u32,
}

// SAFETY: pointers and numbers; what may be done with the memory is the contract of `copied`, and a list is its own.
unsafe impl Send for RawBuffers {}

impl RawBuffers {
    /// Checks and copies the caller's list.
    ///
    /// # Errors
    /// [`PayloadError`]: an empty list, a null pointer, an empty buffer, more than `u32::MAX`
    /// bytes, or no memory for the copy of the list.
    ///
    /// # Safety
    /// Until the returned value is dropped, each `pointer` is valid for `length` bytes: for reads
    /// if the buffers are sent from, for writes and disjoint from all others if they are received
    /// into; nobody else writes to them, and while they are received into nobody reads them.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_074
    #[inline(always)]
    pub unsafe fn copied(list: &[RawBuffer]) -> Result<Self, PayloadError> {
        match list {
            [one] => {
                let total_length = Self::check(slice::from_ref(one))?;
                Ok(Self { memory: one.pointer, count: 1, total_length })
            }
            many => Self::copied_many(many),
        }
    }

    #[cold]
    fn copied_many(list: &[RawBuffer]) -> Result<Self, PayloadError> {
        let total_length = Self::check(list)?;
        let out_of_memory = PayloadError::OutOfMemory { count: list.len() };
        // Every buffer has a byte, so there are no more of them than bytes.
        let count = u32::try_from(list.len()).map_err(|_| out_of_memory)?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(list.len()).map_err(|_| out_of_memory)?;
        copy.extend_from_slice(list);
        Ok(Self { memory: Box::into_raw(copy.into_boxed_slice()).cast(), count, total_length })
    }

    /// The copy of the list, of several buffers.
    #[cold]
    fn several(&self) -> &[RawBuffer] {
        debug_assert_ne!(self.count, 1);
        // SAFETY: of several buffers `memory` is a list of `count`, until the drop.
        unsafe { slice::from_raw_parts(self.memory.cast(), self.count as usize) }
    }

    /// The buffers from the one with index `first` on.
    #[inline(always)]
    fn buffers_from(&self, first: usize) -> impl Iterator<Item = RawBuffer> {
        let only = RawBuffer { pointer: self.memory, length: self.total_length };
        let (next, others) = if self.count == 1 {
            ((first == 0).then_some(only), [].as_slice())
        } else {
            let list = self.several().get(first..).unwrap_or_default();
            (list.first().copied(), list.get(1..).unwrap_or_default())
        };
        next.into_iter().chain(others.iter().copied())
    }
}

impl Drop for RawBuffers {
    #[inline]
    fn drop(&mut self) {
        if self.count != 1 {
            let list = ptr::slice_from_raw_parts_mut(self.memory.cast::<RawBuffer>(), self.count as usize);
            // SAFETY: `copied_many` made it of a box, and nobody looks at it any more.
            drop(unsafe { Box::from_raw(list) });
        }
    }
}

impl IoBufs for RawBuffers {
    #[inline]
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        self.buffers_from(first).map(|buffer| {
            // SAFETY: not null (checked) and valid for reads of `length` bytes by `copied`'s contract.
            unsafe { slice::from_raw_parts(buffer.pointer, buffer.length as usize) }
        })
    }

    #[inline]
    fn checked_length(&self) -> Option<u32> {
        Some(self.total_length)
    }
}

impl IoBufsMut for RawBuffers {
    #[inline]
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        self.buffers_from(first).map(|buffer| {
            // SAFETY: not null (checked), valid for writes of `length` bytes and disjoint from the
            // others by `copied`'s contract; `&mut self` keeps a second iterator away.
            unsafe { slice::from_raw_parts_mut(buffer.pointer, buffer.length as usize) }
        })
    }

    #[inline]
    fn checked_length(&self) -> Option<u32> {
        Some(self.total_length)
    }
}
