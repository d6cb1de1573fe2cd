//! `account {account}`: what is closed of one account, and what it has pending.

use serde::{Deserialize, Serialize};
use weir_ledger::{Id, Key, Ordered, amount};
use weir_sdk::Error;

use super::settled;
use crate::account::{Account, Refusal, Unbonding};
use crate::{Ledger, layout};

/// Operations without effect that an answer lists, the latest ones.
const REFUSED: usize = 64;

/// `account {account}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountArgs {
    /// Which.
    pub account: Key,
}

/// The answer of `account`. An account that nobody ever named is one without anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAnswer {
    /// Which.
    pub account: Key,
    /// The epoch up to which the amounts stand.
    pub epoch: u64,
    /// Free.
    #[serde(with = "amount")]
    pub balance: u128,
    /// At stake.
    #[serde(with = "amount")]
    pub staked: u128,
    /// On its way back.
    pub unbonding: Vec<Unbonding>,
    /// Operations that no epoch has included yet.
    pub pending: u64,
    /// The number of the next operation to sign, those pending counted.
    pub next_seq: u64,
    /// The id that the next operation names as the one before it.
    pub head: Id,
    /// Whether the account signed two operations with one number and an epoch has said so.
    pub frozen: bool,
    /// Since which epoch.
    pub frozen_since: Option<u64>,
    /// Whether a proof against it is known, applied or not.
    pub equivocated: bool,
    /// Included operations that did nothing, the latest ones.
    pub refused: Vec<RefusedOperation>,
}

/// An included operation that did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOperation {
    /// Its number.
    pub seq: u64,
    /// Included by this epoch.
    pub epoch: u64,
    /// Why.
    pub reason: Refusal,
}

/// Answers `account`.
pub fn account<S: Ordered>(ledger: &Ledger, args: &AccountArgs, store: &S) -> Result<AccountAnswer, Error> {
    settled(ledger)?;
    let account = args.account;
    let state = ledger.closed_account(account, store);
    let state = state.unwrap_or_else(|| Account::new(ledger.genesis().hash()));
    let (next, head, line) = ledger.line_of(account, store);
    let epoch = ledger.meta().closed.epoch;
    let unbonding = state
        .unbonding
        .iter()
        .map(|(matures_epoch, amount)| Unbonding { matures_epoch: *matures_epoch, amount: *amount });
    Ok(AccountAnswer {
        account,
        epoch,
        balance: state.balance,
        staked: state.staked,
        unbonding: unbonding.collect(),
        pending: store.prefix(&layout::pending_of(account), usize::MAX).len() as u64,
        next_seq: next + line.len() as u64,
        head: line.last().copied().unwrap_or(head),
        frozen: state.frozen.is_some(),
        frozen_since: state.frozen,
        equivocated: store.has(&layout::proof(account)),
        refused: refused(account, state.next_seq, store),
    })
}

fn refused<S: Ordered>(account: Key, next: u64, store: &S) -> Vec<RefusedOperation> {
    let mut found = Vec::new();
    let mut end = layout::refusal(account, next);
    while let Some((key, value)) =
        store.last(&layout::refusals_of(account), Some(&end)).filter(|_| found.len() < REFUSED)
    {
        if let (Some(seq), Ok((epoch, reason))) = (layout::read_last_number(&key), weir_sdk::decode(&value)) {
            found.push(RefusedOperation { seq, epoch, reason });
        }
        end = key;
    }
    found
}
