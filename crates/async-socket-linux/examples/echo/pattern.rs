//! What is sent: windows of a pseudo-random byte sequence.

/// The sequence repeats after this many bytes. The number is a prime, so that steps return late to the same place. It
/// is small enough for the sequence to stay in a core's cache.
const PERIOD: usize = 65_521;

/// Distances in the sequence: between two messages of a connection, and between two connections.
const MESSAGE_STEP: usize = 40_503;
const CONNECTION_STEP: usize = 24_571;

/// All possible messages. They overlap in one sequence, so making a message costs nothing. The check notices a byte
/// that is lost, doubled, or delivered to another connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    bytes: &'static [u8],
    size: usize,
}

impl Pattern {
    /// Makes the pattern for messages of `size` bytes. It lives as long as the process, because static bytes can be
    /// lent to any number of sockets at once.
    pub(crate) fn new(size: usize) -> Self {
        let mut state = 0_u64;
        let mut sequence = vec![0; PERIOD];
        sequence.fill_with(|| random_byte(&mut state));
        let mut bytes = Vec::with_capacity(PERIOD + size);
        while bytes.len() < PERIOD + size {
            let more = (PERIOD + size - bytes.len()).min(PERIOD);
            bytes.extend_from_slice(&sequence[..more]);
        }
        Self { bytes: bytes.leak(), size }
    }

    /// A connection's message.
    pub(crate) fn message(&self, connection: usize, number: u64) -> &'static [u8] {
        let number = usize::try_from(number % PERIOD as u64).unwrap_or_default();
        let start = (connection % PERIOD * CONNECTION_STEP + number * MESSAGE_STEP) % PERIOD;
        &self.bytes[start..start + self.size]
    }
}

/// The number of bytes that differ. Surplus bytes count as different.
pub(crate) fn wrong_bytes(received: &[u8], expected: &[u8]) -> usize {
    if received == expected {
        return 0;
    }
    let differing = received.iter().zip(expected).filter(|(received, expected)| received != expected).count();
    differing + received.len().abs_diff(expected.len())
}

/// `SplitMix64`.
fn random_byte(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()[0]
}
