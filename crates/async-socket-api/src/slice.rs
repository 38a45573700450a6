//! A part of a buffer as a buffer, for instance to send received bytes without a copy.
//!
//! Invariant: the range lies within the buffer as it was when the slice was made. If the buffer shrinks later, the
//! slice shows fewer bytes or none. Nothing here panics.

use crate::{IoBuf, IoBufMut, Refused};
use std::fmt;
use std::ops::{Bound, Deref, DerefMut, Range, RangeBounds};
use thiserror::Error;

/// A range of a buffer, lent in place of the whole: to send from, to receive into, alone or in a list.
///
/// [`IoBuf::slice`] makes one, and so does
/// [`ReceiveCompletion::into_slice`](crate::ReceiveCompletion::into_slice). It owns the whole buffer and copies
/// nothing; [`into_inner`](Self::into_inner) gives the buffer back.
///
/// ```
/// use async_socket_api::{IoBuf, Slice};
///
/// let name: Slice<Vec<u8>> = b"name=value".to_vec().slice(..4)?;
/// assert_eq!(*name, *b"name");
/// assert_eq!(name.into_inner(), b"name=value");
///
/// let refused = b"name=value".to_vec().slice(..40).unwrap_err();
/// assert_eq!(refused.to_string(), "the range 0..40 is not within a buffer of 10 bytes");
/// assert_eq!(refused.returned, b"name=value");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A slice may be empty. A socket refuses to send or to fill an empty slice, as it refuses every empty buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Slice<B> {
    buffer: B,
    start: usize,
    end: usize,
}

/// A range that does not lie within the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the range {start}..{end} is not within a buffer of {length} bytes")]
#[non_exhaustive]
pub struct SliceError {
    /// The first byte of the range.
    pub start: usize,
    /// The byte after the last of the range.
    pub end: usize,
    /// How many bytes the buffer has.
    pub length: usize,
}

/// The range as two numbers, if it lies within `length` bytes.
// Codes_SRS_LENT_BUFFERS_01_002
fn checked(range: &impl RangeBounds<usize>, length: usize) -> Result<Range<usize>, SliceError> {
    // A saturated bound is beyond every buffer, because no buffer has `usize::MAX` bytes.
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => length,
    };
    if start <= end && end <= length { Ok(start..end) } else { Err(SliceError { start, end, length }) }
}

impl<B> Slice<B> {
    /// Checks `range` against the buffer's `length`.
    // Codes_SRS_LENT_BUFFERS_01_001, Codes_SRS_LENT_BUFFERS_01_002
    pub(crate) fn within(
        buffer: B,
        range: &impl RangeBounds<usize>,
        length: usize,
    ) -> Result<Self, Refused<B, SliceError>> {
        match checked(range, length) {
            Ok(Range { start, end }) => Ok(Self { buffer, start, end }),
            Err(error) => Err(Refused { error, returned: buffer }),
        }
    }

    /// The first `filled` bytes of a buffer of `length` bytes, or all of them if `filled` is more.
    pub(crate) fn front(buffer: B, filled: usize, length: usize) -> Self {
        Self { buffer, start: 0, end: filled.min(length) }
    }

    /// A range of this slice, counted from its beginning: a smaller slice of the same buffer.
    ///
    /// # Errors
    /// [`SliceError`] and this slice, if the range does not lie within it.
    // Codes_SRS_LENT_BUFFERS_01_003
    pub fn slice(self, range: impl RangeBounds<usize>) -> Result<Self, Refused<Self, SliceError>> {
        match checked(&range, self.len()) {
            Ok(Range { start, end }) => Ok(Self { start: self.start + start, end: self.start + end, ..self }),
            Err(error) => Err(Refused { error, returned: self }),
        }
    }

    /// Where in the buffer the slice lies.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// How many bytes the slice has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the slice has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The whole buffer.
    #[must_use]
    pub fn buffer(&self) -> &B {
        &self.buffer
    }

    /// Gives the whole buffer back.
    // Codes_SRS_LENT_BUFFERS_01_004
    #[must_use]
    pub fn into_inner(self) -> B {
        self.buffer
    }
}

// An empty slice shows no bytes, which the check of `Payload` refuses.
// Codes_SRS_LENT_BUFFERS_01_001
impl<B: IoBuf> IoBuf for Slice<B> {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        self.buffer.as_slice().get(self.range()).unwrap_or_default()
    }
}

// Codes_SRS_LENT_BUFFERS_01_001
impl<B: IoBufMut> IoBufMut for Slice<B> {
    #[inline]
    fn as_mut_slice(&mut self) -> &mut [u8] {
        let range = self.range();
        // Codes_SRS_LENT_BUFFERS_01_004
        self.buffer.as_mut_slice().get_mut(range).unwrap_or_default()
    }
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<B: IoBuf + IoBufMut> DerefMut for Slice<B> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

// By hand, so that the buffer needs no `Debug` and a payload is never printed.
// Codes_SRS_LENT_BUFFERS_01_006
impl<B> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice").field("range", &self.range()).finish_non_exhaustive()
    }
}
