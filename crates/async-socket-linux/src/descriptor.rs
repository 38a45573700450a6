//! Taking the descriptor back.

use crate::extras::Kept;
use crate::socket::AsyncSocketLinux;
use crate::socket_core::state_in;
use crate::sys::SocketSyscalls;
use async_socket_api::{Refused, SocketState};
use completion_port::{Direction, Phase, Port};
use std::os::fd::OwnedFd;
use thiserror::Error;

/// Why a descriptor is not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IntoFdError {
    /// Operations wait. Cancel them, or wait for them.
    #[error("{receives} receives and {sends} sends wait")]
    OperationsWait {
        /// The number of receives.
        receives: usize,
        /// The number of sends, and of a shutdown that waits.
        sends: usize,
    },
    /// The socket was closed, and its descriptor with it, or is being closed.
    #[error("the socket was closed, its descriptor is gone")]
    DescriptorClosed,
    /// There is no memory for the way back.
    #[error("no memory to give the descriptor back")]
    OutOfMemory,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Ends the socket and gives its descriptor back, as it is: still connected, still non-blocking. Like the drop, it
    /// first waits for callbacks of the socket on other threads.
    ///
    /// Bytes that have arrived and were not received are still in the kernel.
    ///
    /// # Errors
    /// [`IntoFdError`] and the socket, which is unchanged.
    // Codes_SRS_SOCKET_01_074, Codes_SRS_SOCKET_01_075
    pub fn into_fd(self) -> Result<OwnedFd, Refused<Self, IntoFdError>> {
        let core = self.registration.handler();
        let queued = |direction| self.registration.queued(direction);
        let (receives, sends) = (queued(Direction::In), queued(Direction::Out));
        if receives + sends > 0 {
            return Err(Refused { error: IntoFdError::OperationsWait { receives, sends }, returned: self });
        }
        if state_in(self.registration.phase()) != SocketState::Open && self.registration.phase() != Phase::Unregistered
        {
            return Err(Refused { error: IntoFdError::DescriptorClosed, returned: self });
        }
        let kept =
            Kept::try_new().filter(|kept| core.make_more().is_some_and(|it| it.keep_descriptor_in(kept.clone())));
        let Some(kept) = kept else { return Err(Refused { error: IntoFdError::OutOfMemory, returned: self }) };
        self.registration.remove_and_wait();
        match (kept.take(), self.registration.phase()) {
            (Some(descriptor), _) => Ok(descriptor),
            (None, Phase::Unregistered) => {
                // Only the drop releases it.
                drop(self);
                Ok(kept.take().unwrap_or_else(|| unreachable!("a descriptor that was never registered is released")))
            }
            // The socket is used up inside one of its own attempts.
            (None, _) => Err(Refused { error: IntoFdError::DescriptorClosed, returned: self }),
        }
    }
}
