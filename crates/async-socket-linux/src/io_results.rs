//! This crate's errors and completions as those of `std::io`.

use crate::pool::{PoolError, PooledCompletion};
use crate::socket::CreateError;
use async_socket_api::ReceiveCompletion;
use std::error::Error;
use std::io;

/// The kernel's error with its `errno`.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<CreateError> for io::Error {
    fn from(error: CreateError) -> Self {
        errno_behind(&error).map_or_else(|| Self::other(error), Self::from_raw_os_error)
    }
}

/// [`OutOfMemory`](io::ErrorKind::OutOfMemory), or [`InvalidInput`](io::ErrorKind::InvalidInput) for what was asked.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<PoolError> for io::Error {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            error => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

impl PooledCompletion {
    /// The result of the receive, in the form of [`ReceiveCompletion::io_result`].
    ///
    /// # Errors
    /// Those of [`ReceiveCompletion::io_result`].
    // Codes_SRS_LENT_BUFFERS_01_008
    pub fn io_result(&self) -> io::Result<usize> {
        let bytes = self.buffer.as_ref().map_or(0, |buffer| buffer.len());
        // A buffer has at most `u32::MAX` bytes.
        ReceiveCompletion::new(self.reason, u32::try_from(bytes).unwrap_or(u32::MAX), ()).io_result()
    }
}

/// The `errno` of the first of an error's causes that has one.
fn errno_behind(error: &(dyn Error + 'static)) -> Option<i32> {
    let own = error.downcast_ref().and_then(io::Error::raw_os_error);
    own.or_else(|| errno_behind(error.source()?))
}
