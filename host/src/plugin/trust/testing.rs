//! Keys and signatures for the tests.

use super::{Digest, SignatureFile};
use crate::identity::NodeKey;
use crate::runtime::SeededEntropy;

pub(super) fn key(seed: u64) -> NodeKey {
    NodeKey::generate(&SeededEntropy::from_seed(seed))
}

pub(super) fn make(seed: u64, digest: &Digest) -> SignatureFile {
    let key = key(seed);
    SignatureFile::make(key.peer_id(), |message| key.sign(message), digest)
}
