//! The signed record of where a node listens.

use std::net::SocketAddr;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{ALPN, WireError};
use crate::peer::PeerId;

/// Most addresses in one record.
pub const MAX_ADDRESSES: usize = 16;

/// What stands before a record's bytes when it is signed, so that no other signature of the node's key fits.
const LABEL: &[u8] = b"weir-address-v1";

/// What is signed: label, network (its ALPN) and record, so that a record of one network says nothing in another. The
/// zero bytes keep a longer name from being taken for a shorter one.
fn signed_bytes(network: &[u8], record: &[u8]) -> Vec<u8> {
    [LABEL, &[0], network, &[0], record].concat()
}

/// Where a peer listens, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// Whose addresses these are.
    pub peer: PeerBytes,
    /// The record with the highest sequence wins.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch after which it says nothing any more.
    pub expires_unix_ms: u64,
    /// At most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
}

/// A peer id as 32 bytes on the wire (as text it would be 64).
pub type PeerBytes = [u8; 32];

/// An encoded record and its signature by the peer's key over `weir-address-v1`, the network and the encoded record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAddressRecord {
    record: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedAddressRecord {
    /// Encodes the record and signs it with `sign`, which must use the key of the peer it names.
    pub fn sign(record: &AddressRecord, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let record = postcard::to_stdvec(record).unwrap_or_default();
        let signature = sign(&signed_bytes(ALPN, &record)).to_vec();
        Self { record, signature }
    }

    /// The record, when `peer` signed it, it names `peer`, it holds at most [`MAX_ADDRESSES`] and has not expired.
    ///
    /// # Errors
    /// [`WireError::Malformed`] otherwise.
    pub fn verify(&self, peer: &PeerId, now_unix_ms: u64) -> Result<AddressRecord, WireError> {
        let wrong = WireError::Malformed("address record");
        let key = VerifyingKey::from_bytes(peer.as_bytes()).map_err(|_| wrong.clone())?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| wrong.clone())?;
        key.verify_strict(&signed_bytes(ALPN, &self.record), &signature).map_err(|_| wrong.clone())?;
        let record: AddressRecord = postcard::from_bytes(&self.record).map_err(|_| wrong.clone())?;
        let sound = record.peer == *peer.as_bytes()
            && record.addresses.len() <= MAX_ADDRESSES
            && record.expires_unix_ms > now_unix_ms;
        if sound { Ok(record) } else { Err(wrong) }
    }

    /// The bytes it is kept as, to be verified again when they are read.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// What [`SignedAddressRecord::to_bytes`] made; says nothing about the signature.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the bytes are anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        match postcard::take_from_bytes(bytes) {
            Ok((record, [])) => Ok(record),
            _ => Err(WireError::Malformed("address record")),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn signed(key: &SigningKey, peer: PeerBytes, count: u16) -> SignedAddressRecord {
        let addresses = (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let record = AddressRecord { peer, sequence: 3, expires_unix_ms: 1000, addresses };
        SignedAddressRecord::sign(&record, |bytes| key.sign(bytes).to_bytes())
    }

    #[test]
    fn only_an_own_fresh_bounded_record_counts() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let own = key.verifying_key().to_bytes();
        let peer = PeerId::from_bytes(own);
        assert_eq!(signed(&key, own, 2).verify(&peer, 999).map(|r| r.addresses.len()), Ok(2));
        assert!(signed(&key, own, 2).verify(&peer, 1000).is_err(), "expired");
        assert!(signed(&key, own, 17).verify(&peer, 0).is_err(), "too many");
        assert!(signed(&key, [1; 32], 2).verify(&peer, 0).is_err(), "names another peer");
        let other = SigningKey::from_bytes(&[8; 32]);
        assert!(signed(&other, own, 2).verify(&peer, 0).is_err(), "signed by another");
        let mut foreign = signed(&key, own, 2);
        foreign.signature = key.sign(&signed_bytes(b"weir/10", &foreign.record)).to_bytes().to_vec();
        assert!(foreign.verify(&peer, 0).is_err(), "of another network");
    }

    #[test]
    fn a_kept_record_verifies_again_and_damaged_bytes_do_not_decode() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let own = key.verifying_key().to_bytes();
        let kept = signed(&key, own, 2).to_bytes();
        let read = SignedAddressRecord::from_bytes(&kept).expect("decodes");
        assert!(read.verify(&PeerId::from_bytes(own), 0).is_ok());
        for cut in 0..kept.len() {
            assert!(SignedAddressRecord::from_bytes(&kept[..cut]).is_err());
        }
        assert!(SignedAddressRecord::from_bytes(&[&kept[..], &[0]].concat()).is_err(), "something after it");
    }
}
