//! `crypto`: what is slow or impossible inside a plugin.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::plugin::abi::weir::plugin::crypto::{Digest, Host};
use crate::plugin::instance::InstanceState;

/// What a plugin's signature begins with, so that it can never pass for one of the node's own.
const SIGN_LABEL: &[u8] = b"weir-plugin-v1";

impl Host for InstanceState {
    fn sha256(&mut self, message: Vec<u8>) -> wasmtime::Result<Digest> {
        let hash = Sha256::digest(&message);
        let mut words = hash.chunks_exact(8).map(|word| word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
        let [a, b, c, d] = std::array::from_fn(|_| words.next().unwrap_or_default());
        Ok(Digest { a, b, c, d })
    }

    fn ed25519_verify(&mut self, key: Vec<u8>, message: Vec<u8>, signature: Vec<u8>) -> wasmtime::Result<bool> {
        let key = <&[u8; 32]>::try_from(key.as_slice()).ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
        let signature = Signature::from_slice(&signature).ok();
        Ok(key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(&message, &signature).is_ok()))
    }

    fn sign(&mut self, message: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        if !self.grants.sign() {
            wasmtime::bail!("crypto.sign needs the capability `sign`: name it in the manifest and grant it");
        }
        // A plugin's name has no byte below 0x2d, so the zero ends it and no two plugins can sign the same bytes.
        let parts = [SIGN_LABEL, self.home.name.as_bytes(), b"\0", &message];
        Ok(self.home.services.signer.sign(&parts.concat()).to_vec())
    }
}
