//! SHA-256, the one hash of the ledgers: Ed25519 brings it along anyway, and a plugin's host computes it.

use weir_sdk::Sha256;

use crate::Id;

/// A hash that is fed piece by piece. The caller says lengths where pieces vary.
#[derive(Clone)]
pub struct Hash(Sha256);

impl Hash {
    /// Begins with a label, so that hashes for different purposes can never be taken for each other.
    pub fn new(label: &str) -> Self {
        Self(Sha256::new()).with(label.as_bytes()).with(&[0])
    }

    /// One more piece.
    pub fn with(mut self, piece: &[u8]) -> Self {
        self.add(piece);
        self
    }

    /// One more piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// What it comes to.
    pub fn id(self) -> Id {
        Id(self.0.finish())
    }
}

/// The plain SHA-256 of some bytes, which is how items are named.
pub fn hash(bytes: &[u8]) -> Id {
    Id(weir_sdk::sha256(bytes))
}
