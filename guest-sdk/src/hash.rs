//! SHA-256, which the host computes for a plugin.

use sha2::Digest as _;

use crate::backend::crypto;
use crate::words;

/// What is longer is hashed in the plugin, in bytes: one call of the host may be limited to twice as much (the budget
/// `host_call`), and by then the crossing is not what costs.
const LONG: usize = 32 << 10;

/// The SHA-256 of these bytes (FIPS 180-4): inside a plugin the host's, which is ten times as fast as one compiled to wasm;
/// the same natively, with or without a test host. Not for a manifest, which is asked for before there is a host.
///
/// ```
/// let hash = weir_sdk::sha256(b"abc");
/// assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
/// ```
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    if bytes.len() > LONG {
        return sha2::Sha256::digest(bytes).into();
    }
    let digest = crypto::sha256(bytes);
    words::bytes([digest.a, digest.b, digest.c, digest.d])
}

/// [`sha256`] of what comes piece by piece.
#[derive(Clone, Default)]
pub struct Sha256 {
    /// All of it, while it is short.
    short: Vec<u8>,
    long: Option<sha2::Sha256>,
}

impl Sha256 {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more piece.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some(long) = &mut self.long {
            return long.update(piece);
        }
        if self.short.len() + piece.len() <= LONG {
            return self.short.extend_from_slice(piece);
        }
        let short = std::mem::take(&mut self.short);
        self.long = Some(sha2::Sha256::new().chain_update(short).chain_update(piece));
    }

    /// What all pieces one after the other come to.
    pub fn finish(self) -> [u8; 32] {
        self.long.map_or_else(|| sha256(&self.short), |long| long.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_hash_however_long_and_in_whatever_pieces() {
        for len in [0, 1, 55, 56, 64, 1_000, LONG - 1, LONG, LONG + 1, 3 * LONG] {
            let bytes: Vec<_> = (0..len).map(|at| at as u8).collect();
            let expected: [u8; 32] = sha2::Sha256::digest(&bytes).into();
            assert_eq!(sha256(&bytes), expected, "{len} bytes");
            for piece in [1, 100, 20_000] {
                let mut hash = Sha256::new();
                bytes.chunks(piece).for_each(|piece| hash.update(piece));
                assert_eq!(hash.finish(), expected, "{len} bytes in pieces of {piece}");
            }
        }
    }
}
