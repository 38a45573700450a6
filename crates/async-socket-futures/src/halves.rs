//! The two directions of a stream, for two tasks.

use crate::stream::Stream;
use completion_port::{CompletionPort, Port};
use std::sync::Arc;

impl<P: Port> Stream<P> {
    /// The two directions, for two tasks. The stream is closed when both are dropped.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_037
    #[must_use]
    pub fn into_split(self) -> (ReadHalf<P>, WriteHalf<P>) {
        let stream = Arc::new(self);
        (ReadHalf(Arc::clone(&stream)), WriteHalf { stream, ends_direction: true })
    }
}

/// The receiving direction of a [`Stream`].
#[derive(Debug)]
pub struct ReadHalf<P: Port = CompletionPort>(pub(crate) Arc<Stream<P>>);

/// The sending direction of a [`Stream`]. Dropping it ends the direction.
#[derive(Debug)]
pub struct WriteHalf<P: Port = CompletionPort> {
    pub(crate) stream: Arc<Stream<P>>,
    /// What its drop does.
    ends_direction: bool,
}

impl<P: Port> ReadHalf<P> {
    /// Puts the stream together again. `None` if the halves are of two streams; both are then dropped.
    #[must_use]
    pub fn reunite(self, mut other: WriteHalf<P>) -> Option<Stream<P>> {
        if !Arc::ptr_eq(&self.0, &other.stream) {
            return None;
        }
        let stream = self.0;
        other.ends_direction = false;
        drop(other);
        Arc::into_inner(stream)
    }
}

impl<P: Port> Drop for WriteHalf<P> {
    fn drop(&mut self) {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_037
        if self.ends_direction {
            // An error means that the peer has closed the connection already.
            let _ = self.stream.shutdown();
        }
    }
}
