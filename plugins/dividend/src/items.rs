//! What is signed and gossiped: declarations of payers, claims of accounts.

use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::sign::SIGNATURE;
use weir_ledger::{Key, Signed};

/// Opens what is signed, before the genesis hash.
pub const LABEL: &str = "weir-dividend-v1";

/// No item is larger.
pub const MAX_ITEM: usize = 1 + 32 + 8 + 16 + SIGNATURE;

/// And none is smaller: a claim.
pub const MIN_ITEM: usize = 1 + 32 + 8 + SIGNATURE;

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
    /// Its one encoding, without a signature.
    pub fn encode(&self) -> Vec<u8> {
        weir_ledger::Body::encode(self)
    }
}

/// A body with a signature, which is not verified by having one of these. Its id is what an anchor names.
pub type Item = Signed<Body>;

impl weir_ledger::Body for Body {
    const LABEL: &'static str = LABEL;
    const MAX: usize = MAX_ITEM - SIGNATURE;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            DECLARATION => {
                Ok(Self::Declaration { payer: reader.key()?, number: reader.u64()?, amount: reader.amount()? })
            }
            CLAIM => Ok(Self::Claim { account: reader.key()?, up_to_epoch: reader.u64()? }),
            other => Err(DecodeError::Kind(other)),
        }
    }

    fn encode(&self) -> Vec<u8> {
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

    fn signer(&self) -> Key {
        match self {
            Self::Declaration { payer, .. } => *payer,
            Self::Claim { account, .. } => *account,
        }
    }
}
