//! A close that does not wait.

use crate::socket::AsyncSocketLinux;
use crate::socket_core::state_in;
use crate::span::log_inside;
use crate::sys::SocketSyscalls;
use async_socket_api::{Refused, SocketState};
use completion_port::{AddError, Port};
use std::io;
use thiserror::Error;

/// Why a socket is not closed by [`AsyncSocketLinux::close_async`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The socket is not open: it never was, it is closed, or another close is at work.
    #[error("the socket is {state}, not OPEN")]
    NotOpen {
        /// The state it is in.
        state: SocketState,
    },
    /// There is no memory for the callback. [`close`](async_socket_api::AsyncSocket::close) needs none.
    #[error("no memory for the callback of the close")]
    OutOfMemory,
    /// The socket was made before `fork`, in a parent of this process.
    #[error("the socket was made before fork, in the parent process: make a new one in this process")]
    Inherited,
}

/// [`OutOfMemory`](io::ErrorKind::OutOfMemory), [`NotConnected`](io::ErrorKind::NotConnected) if it is not open, otherwise
/// [`Other`](io::ErrorKind::Other).
// Codes_SRS_LENT_BUFFERS_01_009
impl From<CloseError> for io::Error {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            CloseError::NotOpen { .. } => Self::new(io::ErrorKind::NotConnected, error),
            CloseError::Inherited => Self::other(error),
        }
    }
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Closes the socket as [`close`](async_socket_api::AsyncSocket::close) does, but never waits: neither for callbacks on
    /// other threads nor for the peer. It is safe in every callback on every thread, with any lock held that no callback of
    /// the socket takes. Two callbacks can close each other's sockets.
    ///
    /// The operations that wait are abandoned, oldest first, and then `done` runs, once, after the descriptor was closed. If
    /// callbacks of the socket run on other threads, the last of them does all that when it ends, on its thread. Otherwise
    /// it happens inside this call.
    ///
    /// If `SO_LINGER` is on with a time other than 0, it is switched off first, because a close that lingers waits. The
    /// kernel goes on sending what it has.
    ///
    /// Dropping the socket afterwards still waits for its callbacks on other threads. To avoid that in a callback, let
    /// `done` own the socket.
    ///
    /// # Errors
    /// [`CloseError`] and `done`; nothing has changed then.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
    /// use std::{os::unix::net::UnixStream, sync::Arc};
    ///
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let socket = Arc::new(AsyncSocketLinux::open(None, ours)?);
    /// let owned = Arc::clone(&socket);
    /// socket.close_async(move || drop(owned))?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_async<F>(&self, done: F) -> Result<(), Refused<F, CloseError>>
    where
        F: FnOnce() + Send + 'static,
    {
        let core = self.registration.handler();
        let descriptor = core.descriptor();
        let span = self.span();
        // Codes_SRS_SOCKET_01_097
        let is_first = core.set_never_lingers(true);
        match self.registration.remove_async(done) {
            // Nothing of the socket is touched any more, because `done` may have dropped it.
            Ok(()) => {
                log_inside(span.as_deref(), || tracing::debug!(descriptor, "socket closing"));
                Ok(())
            }
            Err(refused) => {
                // Codes_SRS_SOCKET_01_097
                if is_first {
                    core.set_never_lingers(false);
                }
                let error = match refused.error {
                    AddError::OutOfMemory => CloseError::OutOfMemory,
                    AddError::Inherited(_) => CloseError::Inherited,
                    // Codes_SRS_SOCKET_01_095
                    _ => CloseError::NotOpen { state: state_in(self.registration.phase()) },
                };
                Err(Refused { error, returned: refused.returned })
            }
        }
    }
}
