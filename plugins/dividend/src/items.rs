//! What is signed and gossiped: declarations of payers, claims of accounts.

use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::sign::{SIGNATURE, signed_bytes};
use weir_ledger::{Id, Key, Verify, hash};

/// Opens what is signed, before the genesis hash.
pub const LABEL: &str = "weir-dividend-v1";

/// No item is larger.
pub const MAX_ITEM: usize = 1 + 32 + 8 + 16 + SIGNATURE;

const DECLARATION: u8 = 1;
const CLAIM: u8 = 2;

/// What an item says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `1 ‖ payer 32 ‖ number 8 ‖ amount 16`
    Declaration {
        /// Who pays.
        payer: Key,
        /// The payer's own number for it: of two with one number only the one that an epoch anchors first counts.
        number: u64,
        /// How much.
        amount: u128,
    },
    /// `2 ‖ account 32 ‖ up to epoch 8`
    Claim {
        /// Who claims.
        account: Key,
        /// Everything due up to the end of this epoch.
        up_to_epoch: u64,
    },
}

impl Body {
    /// Its one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_ITEM);
        match self {
            Self::Declaration { payer, number, amount } => {
                bytes.push(DECLARATION);
                bytes.extend(payer.0);
                bytes.extend(number.to_be_bytes());
                bytes.extend(amount.to_be_bytes());
            }
            Self::Claim { account, up_to_epoch } => {
                bytes.push(CLAIM);
                bytes.extend(account.0);
                bytes.extend(up_to_epoch.to_be_bytes());
            }
        }
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            DECLARATION => {
                Ok(Self::Declaration { payer: reader.key()?, number: reader.u64()?, amount: reader.amount()? })
            }
            CLAIM => Ok(Self::Claim { account: reader.key()?, up_to_epoch: reader.u64()? }),
            other => Err(DecodeError::Kind(other)),
        }
    }

    /// Whose signature it takes.
    pub fn signer(&self) -> Key {
        match self {
            Self::Declaration { payer, .. } => *payer,
            Self::Claim { account, .. } => *account,
        }
    }
}

/// A body with a signature, which is not verified by having one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    body: Body,
    id: Id,
    bytes: Vec<u8>,
}

impl Item {
    /// Reads the bytes of one, and no byte more.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ITEM {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let body = Body::read(&mut reader)?;
        let id = hash(reader.since(0));
        reader.bytes(SIGNATURE)?;
        reader.end()?;
        Ok(Self { body, id, bytes: bytes.to_vec() })
    }

    /// Signs a body for the network with this genesis.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sign(body: Body, pair: &weir_ledger::keys::KeyPair, genesis: Id) -> Self {
        let unsigned = body.encode();
        Self { body, id: hash(&unsigned), bytes: pair.sign(LABEL, genesis, &unsigned) }
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The SHA-256 of the unsigned body; what an anchor names.
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
        verify.verify(self.body.signer(), &signed_bytes(LABEL, genesis, body), signature)
    }
}
