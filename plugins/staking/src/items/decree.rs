//! What the issuer signs, and what the recovery key signs to replace it.

use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::{Body, Id, Key};

use super::{LABEL, kind};

const MINT: u8 = 0;
const EPOCH: u8 = 1;
const ROTATE: u8 = 2;

/// Pages of one epoch: room for more than three million accounts with news, in a header of 32 KiB.
pub const MAX_PAGES: usize = 1_024;

/// What a decree orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// New tokens for an account.
    Mint {
        /// Whose.
        to: Key,
        /// How many.
        amount: u128,
    },
    /// Closes an epoch: everything in the issuer's log since the last one, and what the pages name.
    Epoch {
        /// The number after the last epoch's; the first is 1.
        number: u64,
        /// The ids of the pages, in order.
        pages: Vec<Id>,
    },
    /// The log goes on from here under another key. Signed by the recovery key; what the old key signed beyond `before`
    /// does not count.
    Rotate {
        /// The issuer from here on.
        new_key: Key,
    },
}

/// One entry of the issuer's log.
///
/// `2 ‖ key 32 ‖ reign 8 ‖ number 8 ‖ id before 32 ‖ order 1 ‖ …`: mint `to 32 ‖ amount 16`, epoch `number 8 ‖ count 4 ‖ ids`,
/// rotate `new key 32`. A reign is the time between two rotations; the genesis' issuer has reign 0. A rotation carries the
/// number of the reign it begins, any one above those before it, and its `before` is the head it chooses. The log of the issuer
/// is not the log of the account with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decree {
    /// The issuer's key, or the recovery key for a rotation.
    pub key: Key,
    /// Which reign it belongs to, or begins.
    pub reign: u64,
    /// Its number in the issuer's log.
    pub seq: u64,
    /// The id of the decree with the number before; the genesis hash before the first.
    pub before: Id,
    /// What it orders.
    pub order: Order,
}

impl Body for Decree {
    const LABEL: &'static str = LABEL;
    const MAX: usize = 1 + 32 + 8 + 8 + 32 + 1 + 8 + 4 + 32 * MAX_PAGES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            kind::DECREE => {}
            other => return Err(DecodeError::Kind(other)),
        }
        let (key, reign, seq, before) = (reader.key()?, reader.u64()?, reader.u64()?, reader.id()?);
        let order = match reader.u8()? {
            MINT => Order::Mint { to: reader.key()?, amount: reader.amount()? },
            EPOCH => {
                let number = reader.u64()?;
                let count = reader.count(32)?;
                if count > MAX_PAGES {
                    return Err(DecodeError::TooLarge);
                }
                Order::Epoch { number, pages: (0..count).map(|_| reader.id()).collect::<Result<_, _>>()? }
            }
            ROTATE => Order::Rotate { new_key: reader.key()? },
            _ => return Err(DecodeError::Field("a decree mints, closes an epoch or rotates the key, nothing else")),
        };
        if seq == u64::MAX || reign == u64::MAX {
            return Err(DecodeError::Field("the number is too large"));
        }
        if matches!(order, Order::Rotate { .. }) && reign == 0 {
            return Err(DecodeError::Field("a rotation begins a reign above 0"));
        }
        Ok(Self { key, reign, seq, before, order })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![kind::DECREE];
        bytes.extend(self.key.0);
        bytes.extend(self.reign.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.before.0);
        match &self.order {
            Order::Mint { to, amount } => {
                bytes.push(MINT);
                bytes.extend(to.0);
                bytes.extend(amount.to_be_bytes());
            }
            Order::Epoch { number, pages } => {
                bytes.push(EPOCH);
                bytes.extend(number.to_be_bytes());
                bytes.extend((pages.len() as u32).to_be_bytes());
                pages.iter().for_each(|page| bytes.extend(page.0));
            }
            Order::Rotate { new_key } => {
                bytes.push(ROTATE);
                bytes.extend(new_key.0);
            }
        }
        bytes
    }

    fn signer(&self) -> Key {
        self.key
    }
}
