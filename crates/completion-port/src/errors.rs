//! Refusals and errors as the error types of the standard library.

use crate::builder::CreatePortError;
use crate::refusal::{AddError, ClaimError, Declined, RegisterError};
use std::error::Error;
use std::fmt;
use std::io;

// Codes_SRS_LENT_BUFFERS_01_010
impl<T, E: fmt::Display> fmt::Display for Declined<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// `?` passes a refusal on. The values handed over live as long as the error.
impl<T, E: Error> Error for Declined<T, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Keeps only the reason. The values handed over are dropped.
// Codes_SRS_LENT_BUFFERS_01_010
impl<T, E: Into<io::Error>> From<Declined<T, E>> for io::Error {
    fn from(refused: Declined<T, E>) -> Self {
        refused.error.into()
    }
}

/// The kernel's error, with its `errno`.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<CreatePortError> for io::Error {
    fn from(error: CreatePortError) -> Self {
        error.source
    }
}

/// The error of [`Handler::prepare`](crate::Handler::prepare) or of the kernel. Otherwise
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a second use, and [`Other`](io::ErrorKind::Other).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<RegisterError> for io::Error {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Unusable(source) | RegisterError::Kernel(source) => source,
            error => {
                let is_second_use = matches!(error, RegisterError::AlreadyUsed(_));
                Self::new(if is_second_use { io::ErrorKind::InvalidInput } else { io::ErrorKind::Other }, error)
            }
        }
    }
}

/// [`OutOfMemory`](io::ErrorKind::OutOfMemory), [`NotConnected`](io::ErrorKind::NotConnected) if nothing is registered, the
/// kernel's error, otherwise [`Other`](io::ErrorKind::Other).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<AddError> for io::Error {
    fn from(error: AddError) -> Self {
        match error {
            // Without the error in it, because that would need memory.
            AddError::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            AddError::NotWatched(errno) => errno.into(),
            error => {
                let is_nothing = matches!(error, AddError::NotRegistered);
                Self::new(if is_nothing { io::ErrorKind::NotConnected } else { io::ErrorKind::Other }, error)
            }
        }
    }
}

/// [`WouldBlock`](io::ErrorKind::WouldBlock) if the direction is in use, the kernel's error, otherwise
/// [`NotConnected`](io::ErrorKind::NotConnected).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<ClaimError> for io::Error {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::InUse => Self::new(io::ErrorKind::WouldBlock, error),
            ClaimError::NotWatched(errno) => errno.into(),
            error => Self::new(io::ErrorKind::NotConnected, error),
        }
    }
}
