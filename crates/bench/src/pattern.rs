//! The bytes that travel: a stream in which every position can be checked.
//!
//! Byte `n` is `n % 251`, and 251 is prime, so bytes that are lost, doubled or swapped by any power of two show.

use std::sync::Arc;

const PERIOD: usize = 251;

/// As much of the stream as is sent or checked at once, from any position.
#[derive(Debug, Clone)]
pub struct Pattern {
    bytes: Arc<[u8]>,
    at_once: usize,
}

impl Pattern {
    /// For slices of at most so many bytes.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a remainder of 251")]
        let bytes = (0..at_once + PERIOD).map(|position| (position % PERIOD) as u8).collect();
        Self { bytes, at_once }
    }

    /// The stream from `position` on: `length` bytes, or as many as are sent at once.
    #[must_use]
    pub fn from(&self, position: u64, length: usize) -> &[u8] {
        #[allow(clippy::cast_possible_truncation, reason = "a remainder of 251")]
        let start = (position % PERIOD as u64) as usize;
        &self.bytes[start..start + length.min(self.at_once)]
    }

    /// Whether `bytes` are what the stream has at `position`.
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
