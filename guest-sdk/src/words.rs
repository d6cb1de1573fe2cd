//! 32 bytes as four big-endian words, which is how the ABI carries what has that length.

/// The words.
pub(crate) const fn of(bytes: &[u8; 32]) -> [u64; 4] {
    [word(bytes, 0), word(bytes, 8), word(bytes, 16), word(bytes, 24)]
}

/// The bytes.
pub(crate) fn bytes(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

const fn word(bytes: &[u8; 32], at: usize) -> u64 {
    let mut word = 0;
    let mut offset = 0;
    while offset < 8 {
        word = word << 8 | bytes[at + offset] as u64;
        offset += 1;
    }
    word
}
