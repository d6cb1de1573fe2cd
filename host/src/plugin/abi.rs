//! The bindings to `weir:plugin@0.1`, made from the WIT, and the few conversions they need.

use crate::peer::PeerId;
use crate::protocol;
use crate::wire::Failure;

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "weir:plugin/plugin",
    imports: { default: trappable },
    exports: { default: async },
});

pub(super) use self::exports::weir::plugin::handler::{Cause, Init, Limits, Manifest, Predecessor};
pub(super) use self::weir::plugin::crypto::Digest;
pub(super) use self::weir::plugin::types;

/// The version this module serves, as it stands in the name of the exported interface.
pub(super) const VERSION: &str = "0.1";

impl From<&PeerId> for types::PeerId {
    fn from(peer: &PeerId) -> Self {
        let [a, b, c, d] = words(peer.as_bytes());
        Self { a, b, c, d }
    }
}

impl From<[u8; 32]> for Digest {
    fn from(hash: [u8; 32]) -> Self {
        let [a, b, c, d] = words(&hash);
        Self { a, b, c, d }
    }
}

/// How the ABI carries what has 32 bytes: as four big-endian words.
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    words
}

impl From<types::PeerId> for PeerId {
    fn from(words: types::PeerId) -> Self {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip([words.a, words.b, words.c, words.d]) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        Self::from_bytes(bytes)
    }
}

impl From<types::Delivery> for protocol::Delivery {
    fn from(delivery: types::Delivery) -> Self {
        match delivery {
            types::Delivery::Ordered => Self::Ordered,
            types::Delivery::Unordered => Self::Unordered,
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<protocol::AskError> for types::AskError {
    fn from(error: protocol::AskError) -> Self {
        match error {
            protocol::AskError::NotConnected => Self::NotConnected,
            protocol::AskError::Unsupported => Self::Unsupported,
            protocol::AskError::TimedOut => Self::TimedOut,
            protocol::AskError::Busy => Self::Busy,
            protocol::AskError::Refused(failure) => Self::Refused(failure.into()),
            protocol::AskError::Closed => Self::Other("the node is stopping".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_survives_the_boundary() {
        let peer = PeerId::from_bytes(std::array::from_fn(|i| i as u8 + 200));
        let words = types::PeerId::from(&peer);
        assert_eq!(words.a, 0xc8c9_cacb_cccd_cecf);
        assert_eq!(PeerId::from(words), peer);
    }
}
