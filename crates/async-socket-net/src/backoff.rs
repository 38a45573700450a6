//! Pauses that double, for what cannot be waited for: a free descriptor, memory, room in a Unix socket's backlog.

use std::time::Duration;

/// The next pause, between two bounds.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// The next pause. The one after it is twice as long, up to the longest.
    // Codes_SRS_ASYNC_SOCKET_NET_01_011
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Begins with the first pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
