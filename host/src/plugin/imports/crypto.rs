//! `crypto`: what is slow or impossible inside a plugin.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::plugin::abi::Digest;
use crate::plugin::abi::weir::plugin::crypto::Host;
use crate::plugin::instance::InstanceState;

/// What a plugin's signature begins with, so that it can never pass for one of the node's own.
const SIGN_LABEL: &[u8] = b"weir-plugin-v1";

impl Host for InstanceState {
    fn sha256(&mut self, message: Vec<u8>) -> wasmtime::Result<Digest> {
        Ok(<[u8; 32]>::from(Sha256::digest(&message)).into())
    }

    fn ed25519_verify(&mut self, key: Vec<u8>, message: Vec<u8>, signature: Vec<u8>) -> wasmtime::Result<bool> {
        let key = self.verifying_key(&key);
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

impl InstanceState {
    /// The point that these bytes are. Whoever's signature is checked has often signed the one before, too, and to unpack
    /// a key is a tenth of a check.
    fn verifying_key(&mut self, bytes: &[u8]) -> Option<VerifyingKey> {
        let bytes = bytes.try_into().ok()?;
        if let Some(last) = self.last_key.filter(|last| last.as_bytes() == bytes) {
            return Some(last);
        }
        self.last_key = Some(VerifyingKey::from_bytes(bytes).ok()?);
        self.last_key
    }
}
