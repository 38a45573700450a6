//! Reasons why calls are refused, and the values that a refusal returns.

use crate::admission::NotQueued;
use crate::handler::Handler;
use crate::phase::Phase;
use crate::process::Inherited;
use crate::sys::Errno;
use std::fmt;
use std::io;
use thiserror::Error;

/// A refused call: the reason, and the values that the caller had handed over.
pub struct Declined<T, E> {
    /// Why.
    pub error: E,
    /// What was handed over, untouched.
    pub returned: T,
}

// Implemented by hand, so that the returned values need no `Debug`.
impl<T, E: fmt::Debug> fmt::Debug for Declined<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declined").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Why a descriptor is not watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// It is registered already, or was.
    #[error("the registration is {0:?}, only one that is Unregistered can be registered")]
    AlreadyUsed(Phase),
    /// [`Handler::prepare`] refused the descriptor, or panicked.
    #[error("the descriptor cannot be used")]
    Unusable(#[source] io::Error),
    /// The kernel refused: `EPERM` for a regular file, `EBADF`, `ENOMEM`, `ENOSPC`; see `epoll_ctl(2)`. Or the port has no memory
    /// for one more registration: `ENOMEM`.
    #[error("the port does not take the descriptor")]
    Kernel(#[source] io::Error),
}

/// There is no memory for the new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("out of memory")]
pub struct OutOfMemory;

/// Why an operation was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddError {
    /// Nothing is registered yet, or nothing any more.
    #[error("no descriptor is registered")]
    NotRegistered,
    /// The queue could not grow.
    #[error("no memory to queue the operation")]
    OutOfMemory,
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// Other code has closed the port's epoll instance or eventfd.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
    /// The kernel refused to watch the descriptor: `ENOMEM`, `ENOSPC`, `EPERM` for a regular file; see `epoll_ctl(2)`. This
    /// happens only after [`register_lazily`](crate::Registration::register_lazily), before an operation has succeeded. Each
    /// operation tries again.
    #[error("epoll_ctl(EPOLL_CTL_ADD) failed")]
    NotWatched(#[source] Errno),
}

/// Why a direction could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Nothing is registered yet, or nothing any more.
    #[error("no descriptor is registered")]
    NotRegistered,
    /// Another thread works on the direction, or an operation waits. Use [`add`](crate::Registration::add) to queue behind
    /// it.
    #[error("the direction is in use")]
    InUse,
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// Other code has closed the port's epoll instance or eventfd.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
    /// As [`AddError::NotWatched`].
    #[error("epoll_ctl(EPOLL_CTL_ADD) failed")]
    NotWatched(#[source] Errno),
}

/// Why the descriptor of a lazy registration cannot be watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unwatchable {
    PortFailed,
    Kernel(Errno),
}

impl From<Unwatchable> for AddError {
    fn from(error: Unwatchable) -> Self {
        match error {
            Unwatchable::PortFailed => Self::PortFailed,
            Unwatchable::Kernel(errno) => Self::NotWatched(errno),
        }
    }
}

impl From<Unwatchable> for ClaimError {
    fn from(error: Unwatchable) -> Self {
        match error {
            Unwatchable::PortFailed => Self::PortFailed,
            Unwatchable::Kernel(errno) => Self::NotWatched(errno),
        }
    }
}

/// The parts of a registration that could not be made because there is no memory.
pub type NotMade<H, P> = Declined<(P, H, <H as Handler>::Descriptor), OutOfMemory>;

impl From<NotQueued> for AddError {
    fn from(error: NotQueued) -> Self {
        match error {
            // `Unwatched` does not come here, because the caller has watched the descriptor.
            NotQueued::NotRegistered | NotQueued::Unwatched => Self::NotRegistered,
            NotQueued::OutOfMemory => Self::OutOfMemory,
            NotQueued::Inherited => Self::Inherited(Inherited),
            NotQueued::PortFailed => Self::PortFailed,
        }
    }
}
