//! Keys that sign, for the wallet and for tests, and the same strict verification without a host.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::sign::{SIGNATURE, signed_bytes};
use crate::{Id, Key, Verify};

/// A key pair, made of 32 secret bytes.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// From the secret bytes, which the caller draws and keeps.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The public key, which is also the account.
    pub fn key(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    /// The body with its signature behind it: what is submitted and gossiped.
    pub fn sign(&self, label: &str, genesis: Id, body: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&signed_bytes(label, genesis, body)).to_bytes();
        [body, &signature].concat()
    }
}

/// ed25519-dalek's `verify_strict`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl Verify for Strict {
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(signed: &[u8]) -> (&[u8], [u8; SIGNATURE]) {
        let (body, signature) = signed.split_last_chunk().expect("long enough");
        (body, *signature)
    }

    #[test]
    fn a_signature_holds_for_its_network_its_label_and_its_body_only() {
        let pair = KeyPair::from_secret(&[7; 32]);
        let (here, there) = (Id([1; 32]), Id([2; 32]));
        let signed = pair.sign("a", here, b"body");
        let (body, signature) = split(&signed);
        assert!(Strict.verify(pair.key(), &signed_bytes("a", here, body), &signature));
        assert!(!Strict.verify(pair.key(), &signed_bytes("a", there, body), &signature));
        assert!(!Strict.verify(pair.key(), &signed_bytes("b", here, body), &signature));
        assert!(!Strict.verify(pair.key(), &signed_bytes("a", here, b"bodz"), &signature));
        assert!(!Strict.verify(Key([0; 32]), &signed_bytes("a", here, body), &signature));
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The identity as key and as R, and s = 0: a plain verification says yes to any message.
        let mut signature = [0; SIGNATURE];
        signature[0] = 1;
        let mut key = [0; 32];
        key[0] = 1;
        assert!(!Strict.verify(Key(key), b"anything", &signature));
    }
}
