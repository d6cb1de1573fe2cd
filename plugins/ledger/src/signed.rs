//! `Signed`: a body, its signature and its name. Made by decoding or by signing, so the three always belong together.

use crate::codec::{DecodeError, Reader};
use crate::sign::{SIGNATURE, signed_bytes};
use crate::{Id, Key, Verify, hash};

/// What can be signed.
pub trait Body: Sized {
    /// Opens what is signed, before the genesis hash: one for each protocol.
    const LABEL: &'static str;
    /// Bytes of the largest body of this kind.
    const MAX: usize;

    /// Reads one, and no byte more.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Its one encoding.
    fn encode(&self) -> Vec<u8>;
    /// Whose signature it takes.
    fn signer(&self) -> Key;
}

/// A body with a signature, which is not verified by having one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<B> {
    body: B,
    id: Id,
    bytes: Vec<u8>,
}

impl<B: Body> Signed<B> {
    /// Reads the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > B::MAX + SIGNATURE {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let signed = Self::read(&mut reader)?;
        reader.end()?;
        Ok(signed)
    }

    /// Reads one out of many.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.at();
        let body = B::read(reader)?;
        let id = hash(reader.since(start));
        reader.bytes(SIGNATURE)?;
        Ok(Self { body, id, bytes: reader.since(start).to_vec() })
    }

    /// Signs a body for the network with this genesis.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sign(body: B, pair: &crate::keys::KeyPair, genesis: Id) -> Self {
        let unsigned = body.encode();
        Self { id: hash(&unsigned), bytes: pair.sign(B::LABEL, genesis, &unsigned), body }
    }

    /// What is said.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The SHA-256 of the unsigned body.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Body and signature: what is submitted, gossiped and stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the signature is the signer's, for this network.
    pub fn is_genuine(&self, genesis: Id, verify: &impl Verify) -> bool {
        let Some((body, signature)) = self.bytes.split_last_chunk::<SIGNATURE>() else { return false };
        verify.verify(self.body.signer(), &signed_bytes(B::LABEL, genesis, body), signature)
    }
}
