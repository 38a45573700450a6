//! The hash in the report's files: FNV-1a, the same on every machine and in every version.

/// The hash of some bytes.
pub(super) fn of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Hashes several parts. Another division of the same bytes into parts has another hash.
pub(super) fn of_parts(parts: &[&[u8]]) -> u64 {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.len().to_le_bytes());
        all.extend(*part);
    }
    of(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(of_parts(&[b"ab", b"c"]), of_parts(&[b"a", b"bc"]));
    }
}
