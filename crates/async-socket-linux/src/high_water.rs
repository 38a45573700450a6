//! How much waits to be sent, and a mark from which on sends are refused.

use crate::extras::More;
use crate::socket::AsyncSocketLinux;
use crate::sys::SocketSyscalls;
use completion_port::{OutOfMemory, Port};

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// How many bytes of accepted sends the kernel has not taken yet. A figure that grows belongs to a peer that reads too
    /// slowly, or is gone.
    // Codes_SRS_SOCKET_01_080
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.registration.handler().more().map_or(0, More::queued_bytes)
    }

    /// Refuses sends, with [`TooMuchQueued`](async_socket_api::SendError::TooMuchQueued), while as many bytes wait as this
    /// or more. So at most the mark and one payload wait, or several payloads if several threads send at the same time. A
    /// send that finds nothing waiting is never refused. `None`, the default, removes the mark.
    ///
    /// The refusal tells a slow consumer apart at the moment when it matters: drop the message, stop reading from the source
    /// of the messages until a send completes, or cut the peer off with [`close_async`](Self::close_async).
    ///
    /// # Errors
    /// [`OutOfMemory`]; the mark is unchanged.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux, SendError};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (ours, _never_reads) = UnixStream::pair()?;
    /// let socket = AsyncSocketLinux::open(None, ours)?;
    /// socket.set_high_water_mark(Some(1 << 20))?;
    /// let refused = loop {
    ///     if let Err(refused) = socket.send_async(vec![0; 100_000], |_| {}) {
    ///         break refused.error;
    ///     }
    /// };
    /// assert!(matches!(refused, SendError::TooMuchQueued { queued_bytes: 1_048_576.. }));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_SOCKET_01_081
    pub fn set_high_water_mark(&self, bytes: Option<usize>) -> Result<(), OutOfMemory> {
        let core = self.registration.handler();
        if bytes.is_none() && core.more().is_none() {
            return Ok(());
        }
        core.make_more().ok_or(OutOfMemory)?.set_high_water_mark(bytes);
        Ok(())
    }
}
