//! What an account signs.

use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::{Body, Id, Key};

use super::{LABEL, kind};

const STAKE: u8 = 0;
const UNSTAKE: u8 = 1;
const WITHDRAW: u8 = 2;

/// What an account can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// From balance to stake.
    Stake(u128),
    /// From stake to unbonding.
    Unstake(u128),
    /// Everything mature from unbonding to balance.
    Withdraw,
}

/// One entry of an account's log.
///
/// `1 ‖ account 32 ‖ number 8 ‖ id before 32 ‖ action 1 ‖ amount 16`, without an amount for a withdrawal. The id before number 0
/// is the genesis hash, so that no id occurs in two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Whose log.
    pub account: Key,
    /// Its number there.
    pub seq: u64,
    /// The id of the operation with the number before.
    pub before: Id,
    /// What it does.
    pub action: Action,
}

impl Body for Operation {
    const LABEL: &'static str = LABEL;
    const MAX: usize = 1 + 32 + 8 + 32 + 1 + 16;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            kind::OPERATION => {}
            other => return Err(DecodeError::Kind(other)),
        }
        let (account, seq, before) = (reader.key()?, reader.u64()?, reader.id()?);
        let action = match reader.u8()? {
            STAKE => Action::Stake(reader.amount()?),
            UNSTAKE => Action::Unstake(reader.amount()?),
            WITHDRAW => Action::Withdraw,
            _ => return Err(DecodeError::Field("an account can stake, unstake and withdraw, nothing else")),
        };
        // The last number there is has no successor, and arithmetic on numbers would need care everywhere.
        if seq == u64::MAX {
            Err(DecodeError::Field("the number is too large"))
        } else {
            Ok(Self { account, seq, before, action })
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![kind::OPERATION];
        bytes.extend(self.account.0);
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.before.0);
        match self.action {
            Action::Stake(amount) => {
                bytes.push(STAKE);
                bytes.extend(amount.to_be_bytes());
            }
            Action::Unstake(amount) => {
                bytes.push(UNSTAKE);
                bytes.extend(amount.to_be_bytes());
            }
            Action::Withdraw => bytes.push(WITHDRAW),
        }
        bytes
    }

    fn signer(&self) -> Key {
        self.account
    }
}
