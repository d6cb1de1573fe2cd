//! A checksum over a sequence of payloads, cheap enough for a million messages a second.

use serde::{Deserialize, Serialize};

/// FNV-1a over little-endian 64-bit words instead of bytes, chained over messages: the length of a payload
/// first, then its words, the last one filled up with zeros. Order counts. Not cryptographic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Takes the next message's payload: its body without the 16 bytes of the header.
    pub fn update(&mut self, payload: &[u8]) {
        self.mix(payload.len() as u64);
        let (words, rest) = payload.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    fn mix(&mut self, word: u64) {
        // The multiplication carries differences only upwards; the rotation brings them down again.
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}
