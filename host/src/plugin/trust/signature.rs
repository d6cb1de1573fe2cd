//! A detached signature of a plugin's file, as `FILE.sig` holds it.
//!
//! One line: `weir-sig-v1`, the signer's public key as 64 hexadecimal digits, the signature as 128. The signature is
//! Ed25519 (RFC 8032) over `weir-plugin-file-v1`, a zero byte and the SHA-256 of the file. Nothing else that a node's
//! key signs begins like that.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};

use super::digest::Digest;
use crate::hex::{hex, unhex};
use crate::peer::PeerId;

/// First word of the file.
const LABEL: &str = "weir-sig-v1";
/// What the signed bytes begin with.
const DOMAIN: &[u8] = b"weir-plugin-file-v1\0";

/// Why a signature says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// The text is no signature file.
    #[error("its signature file is not the line that `weir plugin sign` writes")]
    Unreadable,
    /// It does not belong to this file and key.
    #[error("its signature does not belong to it: the file was changed after it was signed, or signed by another key")]
    Wrong,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureFile {
    /// Who signed, as the file says. Only [`SignatureFile::verify`] makes it true.
    pub signer: PeerId,
    signature: [u8; 64],
}

impl SignatureFile {
    /// Signs a file's content. `sign` makes an Ed25519 signature with the key of `signer` over what it is given.
    pub fn make(signer: PeerId, sign: impl FnOnce(&[u8]) -> [u8; 64], digest: &Digest) -> Self {
        Self { signer, signature: sign(&message(digest)) }
    }

    /// Whether the one it names signed this content.
    ///
    /// # Errors
    /// [`SignatureProblem::Wrong`].
    pub fn verify(&self, digest: &Digest) -> Result<(), SignatureProblem> {
        let key = VerifyingKey::from_bytes(self.signer.as_bytes()).map_err(|_| SignatureProblem::Wrong)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&message(digest), &signature).map_err(|_| SignatureProblem::Wrong)
    }
}

fn message(digest: &Digest) -> Vec<u8> {
    [DOMAIN, digest.as_bytes()].concat()
}

impl fmt::Display for SignatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LABEL} {} {}", self.signer, hex(&self.signature))
    }
}

impl fmt::Debug for SignatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureFile({})", self.signer.short())
    }
}

impl FromStr for SignatureFile {
    type Err = SignatureProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<_> = text.split_ascii_whitespace().take(4).collect();
        let [LABEL, signer, signature] = words.as_slice() else { return Err(SignatureProblem::Unreadable) };
        let read = signed_by(signer, signature);
        read.map(|(signer, signature)| Self { signer, signature }).ok_or(SignatureProblem::Unreadable)
    }
}

fn signed_by(signer: &str, signature: &str) -> Option<(PeerId, [u8; 64])> {
    Some((PeerId::from_bytes(unhex(signer)?.try_into().ok()?), unhex(signature)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{key, make};
    use super::*;

    #[test]
    fn a_signature_survives_its_file_and_belongs_to_one_content() {
        let digest = Digest::of(b"a plugin");
        let text = make(1, &digest).to_string();
        let read: SignatureFile = format!("{text}\n").parse().expect("a signature");
        assert_eq!(read.signer, key(1).peer_id());
        assert_eq!(read.verify(&digest), Ok(()));
        assert_eq!(read.verify(&Digest::of(b"another")), Err(SignatureProblem::Wrong));
    }

    #[test]
    fn nobody_signs_for_another() {
        let digest = Digest::of(b"a plugin");
        let forged = SignatureFile { signer: key(2).peer_id(), ..make(1, &digest) };
        assert_eq!(forged.verify(&digest), Err(SignatureProblem::Wrong));
    }

    #[test]
    fn what_a_plugin_has_signed_is_no_signature_of_a_file() {
        // What `crypto.sign` signs begins with another label, so a plugin with `sign` cannot make one.
        let digest = Digest::of(b"a plugin");
        let by_plugin = [b"weir-plugin-v1", b"name".as_slice(), b"\0", digest.as_bytes()].concat();
        let signature = SignatureFile { signer: key(1).peer_id(), signature: key(1).sign(&by_plugin) };
        assert_eq!(signature.verify(&digest), Err(SignatureProblem::Wrong));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,300}", flip in 0_usize..200) {
            let _ = text.parse::<SignatureFile>();
            let digest = Digest::of(b"a plugin");
            let mut good = make(1, &digest).to_string().into_bytes();
            let at = flip % good.len();
            good[at] = if good[at] == b'0' { b'1' } else { b'0' };
            let parsed = String::from_utf8(good).expect("ASCII").parse::<SignatureFile>();
            prop_assert!(parsed.is_err() || parsed.is_ok_and(|signature| signature.verify(&digest).is_err()));
        }
    }
}
