//! The ping plugin's checksum, computed here once more from the file, so that two nodes cannot agree on the wrong content.

/// FNV-1a over little-endian 64-bit words, chained over messages: the length of a payload first, then its words, the last
/// one filled up with zeros.
pub struct Checksum(u64);

impl Checksum {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes the payload of the next message.
    pub fn update(&mut self, payload: &[u8]) {
        self.mix(payload.len() as u64);
        for piece in payload.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }

    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

#[cfg(test)]
mod tests {
    use super::Checksum;

    fn of(payloads: &[&[u8]]) -> String {
        let mut checksum = Checksum::new();
        payloads.iter().for_each(|payload| checksum.update(payload));
        checksum.hex()
    }

    #[test]
    fn order_borders_and_padding_count() {
        assert_eq!(of(&[]), "cbf29ce484222325");
        assert_ne!(of(&[b"one", b"two"]), of(&[b"two", b"one"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
    }
}
