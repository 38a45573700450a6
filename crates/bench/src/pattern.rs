//! The payload: a stream that can be checked at every position.
//!
//! Byte `n` is `n % 251`. Because 251 is prime, lost bytes, doubled bytes and bytes swapped by any power of two show.

use std::sync::Arc;

const PERIOD: usize = 251;

/// A window of the stream that is long enough to send or check at once, from any position.
#[derive(Debug, Clone)]
pub struct Pattern {
    bytes: Arc<[u8]>,
    at_once: usize,
}

impl Pattern {
    /// A pattern for slices of at most `at_once` bytes.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a remainder of 251")]
        let bytes = (0..at_once + PERIOD).map(|position| (position % PERIOD) as u8).collect();
        Self { bytes, at_once }
    }

    /// The stream from `position` on: at most `length` bytes and at most `at_once`.
    #[must_use]
    pub fn from(&self, position: u64, length: usize) -> &[u8] {
        #[allow(clippy::cast_possible_truncation, reason = "a remainder of 251")]
        let start = (position % PERIOD as u64) as usize;
        &self.bytes[start..start + length.min(self.at_once)]
    }

    /// Whether `bytes` equal the stream at `position`.
    #[must_use]
    pub fn matches(&self, position: u64, bytes: &[u8]) -> bool {
        let mut position = position;
        bytes.chunks(self.at_once).all(|chunk| {
            let same = self.from(position, chunk.len()) == chunk;
            position += chunk.len() as u64;
            same
        })
    }
}
