//! What is signed, and how a signature is verified: one at a time and strictly, never in a batch.

use weir_sdk::Context;

use crate::{Id, Key};

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// What a signature of this network covers: `label ‖ 0 ‖ genesis hash ‖ body`.
pub fn signed_bytes(label: &str, genesis: Id, body: &[u8]) -> Vec<u8> {
    [label.as_bytes(), &[0], &genesis.0, body].concat()
}

/// Strict Ed25519 (RFC 8032, with small-order keys refused).
pub trait Verify {
    /// Whether this is the key's signature of the message.
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; SIGNATURE]) -> bool;
}

/// On a node the host verifies, with ed25519-dalek's `verify_strict`: three times as fast as the same in wasm.
impl Verify for Context {
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        Context::verify(self, &key.0, message, signature)
    }
}

impl<V: Verify + ?Sized> Verify for &V {
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        (**self).verify(key, message, signature)
    }
}
