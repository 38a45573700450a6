//! Bytes that differ at each offset, so that a lost, doubled or moved one changes the digest.

use hyper::body::Bytes;
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// The size of the pieces in which the pattern is made.
const PIECE: usize = 64 << 10;

/// The bytes from the beginning of the pattern up to a length, in pieces.
#[derive(Debug, Clone)]
pub struct Pattern {
    at: u64,
    end: u64,
}

impl Pattern {
    /// The first bytes of the pattern.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { at: 0, end: length }
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn digest(self) -> String {
        let mut digest = Sha256::new();
        self.for_each(|piece| digest.update(piece));
        hex(digest)
    }

    /// All of it in one piece.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.flatten().collect()
    }
}

impl Iterator for Pattern {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.end - self.at).unwrap_or(PIECE).min(PIECE);
        if length == 0 {
            return None;
        }
        // A multiplication by an odd number gives each word another value.
        let words =
            (self.at / 8..).map(|index| index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        let mut piece: Vec<u8> = Vec::with_capacity(PIECE);
        for word in words.take(length.div_ceil(8)) {
            piece.extend_from_slice(&word);
        }
        piece.truncate(length);
        self.at += length as u64;
        Some(piece.into())
    }
}

/// The digest of everything that a reader gives, and its length.
///
/// # Errors
/// The reader's.
pub fn digest_of(mut reader: impl Read) -> io::Result<(String, u64)> {
    let mut digest = Sha256::new();
    let length = io::copy(&mut reader, &mut digest)?;
    Ok((hex(digest), length))
}

/// A digest as text.
#[must_use]
pub fn hex(digest: Sha256) -> String {
    format!("{:x}", digest.finalize())
}
