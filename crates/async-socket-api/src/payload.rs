//! The one place where a list of buffers is checked.
//!
//! Invariant: a [`Payload`] had at least one buffer, no null pointer, no empty buffer, and at most `u32::MAX` bytes
//! when it was made. Buffers of the program may show other lengths later, which a socket notices.

use crate::buffers::sealed::OnlyThisCrate;
use crate::{IoBufs, IoBufsMut, RawBuffer, RawBuffers, Refused};
use thiserror::Error;

/// What is wrong with a list of buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The list has no buffers.
    #[error("the list of buffers is empty")]
    NoBuffers,
    /// A buffer's pointer is null. Only [`RawBuffers`] can have one.
    #[error("buffer {index} is a null pointer")]
    NullBuffer {
        /// The index of the buffer, counted from 0.
        index: usize,
    },
    /// A buffer has no bytes.
    #[error("buffer {index} has length 0")]
    EmptyBuffer {
        /// The index of the buffer, counted from 0.
        index: usize,
    },
    /// The lengths add up to more than `u32::MAX`.
    #[error("the buffers up to and including {index} add up to more than {} bytes", u32::MAX)]
    TooLong {
        /// The index of the buffer that exceeded the limit, counted from 0.
        index: usize,
    },
    /// There is no memory for the socket's own copy of the list.
    #[error("no memory for a list of {count} buffers")]
    OutOfMemory {
        /// How many buffers the list was to have.
        count: usize,
    },
}

/// Buffers that passed every check.
///
/// ```
/// use async_socket_api::{Payload, PayloadError};
///
/// let payload = Payload::to_send(vec!["head", "body"])?;
/// assert_eq!(payload.total_length(), 8);
///
/// let refused = Payload::to_send(vec!["head", ""]).unwrap_err();
/// assert_eq!(refused.error, PayloadError::EmptyBuffer { index: 1 });
/// assert_eq!(refused.returned, ["head", ""]);
/// # Ok::<_, async_socket_api::Refused<Vec<&str>, PayloadError>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<B> {
    buffers: B,
    total_length: u32,
}

impl<B> Payload<B> {
    /// The sum of all lengths in bytes: 1 to `u32::MAX`.
    #[must_use]
    pub fn total_length(&self) -> u32 {
        self.total_length
    }

    /// The buffers.
    #[must_use]
    pub fn buffers(&self) -> &B {
        &self.buffers
    }

    /// The buffers, to receive into.
    #[must_use]
    pub fn buffers_mut(&mut self) -> &mut B {
        &mut self.buffers
    }

    /// Gives the buffers back.
    #[must_use]
    pub fn into_buffers(self) -> B {
        self.buffers
    }

    fn new(buffers: B, checked: Result<u32, PayloadError>) -> Result<Self, Refused<B, PayloadError>> {
        match checked {
            Ok(total_length) => Ok(Self { buffers, total_length }),
            Err(error) => Err(Refused { error, returned: buffers }),
        }
    }
}

impl<B: IoBufs> Payload<B> {
    /// Checks buffers to send from.
    ///
    /// # Errors
    /// [`PayloadError`] with the buffers, if there are none, one is empty, or they are longer than
    /// `u32::MAX` bytes together.
    pub fn to_send(buffers: B) -> Result<Self, Refused<B, PayloadError>> {
        let checked = match buffers.checked_length(OnlyThisCrate) {
            Some(length) => Ok(length),
            None => total_length(buffers.slices_from(0).map(|slice| Some(slice.len()))),
        };
        Self::new(buffers, checked)
    }
}

impl<B: IoBufsMut> Payload<B> {
    /// Checks buffers to receive into.
    ///
    /// # Errors
    /// As for [`Payload::to_send`].
    pub fn to_receive_into(mut buffers: B) -> Result<Self, Refused<B, PayloadError>> {
        let checked = match buffers.checked_length(OnlyThisCrate) {
            Some(length) => Ok(length),
            None => total_length(buffers.slices_mut_from(0).map(|slice| Some(slice.len()))),
        };
        Self::new(buffers, checked)
    }
}

impl RawBuffers {
    /// Checks a list of pointers and lengths, and returns the sum of the lengths. It does not touch the memory behind
    /// the pointers.
    ///
    /// # Errors
    /// The first [`PayloadError`] in the order of the list.
    #[inline(always)]
    pub fn check(list: &[RawBuffer]) -> Result<u32, PayloadError> {
        total_length(list.iter().map(|buffer| (!buffer.pointer.is_null()).then_some(buffer.length as usize)))
    }
}

/// Adds up the lengths. `None` stands for a null pointer.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_045, Codes_SRS_ASYNC_SOCKET_LINUX_11_046, Codes_SRS_ASYNC_SOCKET_LINUX_11_047
// Codes_SRS_ASYNC_SOCKET_LINUX_11_048, Codes_SRS_ASYNC_SOCKET_LINUX_11_066, Codes_SRS_ASYNC_SOCKET_LINUX_11_067
// Codes_SRS_ASYNC_SOCKET_LINUX_11_068, Codes_SRS_ASYNC_SOCKET_LINUX_11_069
#[inline(always)]
fn total_length(lengths: impl Iterator<Item = Option<usize>>) -> Result<u32, PayloadError> {
    let mut total: u32 = 0;
    for (index, length) in lengths.enumerate() {
        let length = length.ok_or(PayloadError::NullBuffer { index })?;
        // Codes_SRS_LENT_BUFFERS_01_005
        if length == 0 {
            return Err(PayloadError::EmptyBuffer { index });
        }
        total = u32::try_from(length)
            .ok()
            .and_then(|length| total.checked_add(length))
            .ok_or(PayloadError::TooLong { index })?;
    }
    if total == 0 { Err(PayloadError::NoBuffers) } else { Ok(total) }
}
