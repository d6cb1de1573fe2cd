//! `stakes {epoch, after, since, limit}`: who had how much at stake when an epoch closed. `top {limit}` (1.1): who has most.

use serde::{Deserialize, Serialize};
use weir_ledger::commands::{Entries, entries, limit};
use weir_ledger::store::after_prefix;
use weir_ledger::{Key, Ordered, amount};
use weir_sdk::Error;

use super::{closed_epoch, settled};
use crate::{Ledger, layout, ranking};

/// `stakes`. Nothing given: the first page of the last closed epoch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StakesArgs {
    /// Which epoch; the last closed one without.
    pub epoch: Option<u64>,
    /// Only what changed after this epoch, in the order of epochs: the last entry of an account is the one that holds.
    pub since: Option<u64>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Entries, 1 to 1,000.
    pub limit: Option<usize>,
}

/// The answer of `stakes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakesAnswer {
    /// Which epoch.
    pub epoch: u64,
    /// Everything at stake when it closed.
    #[serde(with = "amount")]
    pub total: u128,
    /// By account; with `since` by epoch and account, and then stakes of zero as well. A page may be short or empty and
    /// still have a `next`.
    pub accounts: Vec<StakeAnswer>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// One account's stake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeAnswer {
    /// Whose.
    pub account: Key,
    /// How much.
    #[serde(with = "amount")]
    pub staked: u128,
    /// With `since`: the epoch that changed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<u64>,
}

/// Answers `stakes`.
pub fn stakes<S: Ordered>(ledger: &Ledger, args: &StakesArgs, store: &S) -> Result<StakesAnswer, Error> {
    settled(ledger)?;
    let (epoch, limit) = (closed_epoch(ledger, args.epoch)?, limit(args.limit)?);
    let total = ledger.epoch_record(epoch, store).map_or(0, |record| record.totals.staked);
    let after = args.after.as_deref();
    let (accounts, next) = match args.since {
        Some(since) => changed(since, epoch, after, limit, store)?,
        None => at(ledger, epoch, after, limit, store)?,
    };
    Ok(StakesAnswer { epoch, total, accounts, next })
}

type Found = Result<(Vec<StakeAnswer>, Option<String>), Error>;

/// Everybody's stake in an epoch: that of now where it has not changed since, else the last one on record.
fn at<S: Ordered>(ledger: &Ledger, epoch: u64, after: Option<&str>, limit: usize, store: &S) -> Found {
    let end = after_prefix(layout::ACCOUNTS);
    let Entries { found, next } = entries(store, layout::ACCOUNTS, end.as_deref(), after, limit)?;
    let stakes = found.iter().filter_map(|(key, _)| {
        let account = layout::read_account(key)?;
        let state = ledger.closed_account(account, store)?;
        let staked = if state.stake_epoch <= epoch { state.staked } else { on_record(account, epoch, store) };
        (staked > 0).then_some(StakeAnswer { account, staked, epoch: None })
    });
    Ok((stakes.collect(), next))
}

fn on_record<S: Ordered>(account: Key, epoch: u64, store: &S) -> u128 {
    let end = layout::history(account, epoch.saturating_add(1));
    let last = store.last(&layout::history_of(account), Some(&end));
    last.and_then(|(_, value)| stake(&value)).unwrap_or(0)
}

/// What changed in the epochs behind `since`.
fn changed<S: Ordered>(since: u64, epoch: u64, after: Option<&str>, limit: usize, store: &S) -> Found {
    let (start, end) = (layout::stakes(since.saturating_add(1)), layout::stakes(epoch.saturating_add(1)));
    let Entries { found, next } = entries(store, &start, Some(&end), after, limit)?;
    let stakes = found.iter().filter_map(|(key, value)| {
        let (epoch, account) = layout::read_stake(key)?;
        Some(StakeAnswer { account, staked: stake(value)?, epoch: Some(epoch) })
    });
    Ok((stakes.collect(), next))
}

fn stake(value: &[u8]) -> Option<u128> {
    value.try_into().ok().map(u128::from_be_bytes)
}

/// `top {limit}`, from version 1.1 on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopArgs {
    /// Entries, 1 to 1,000; 10 without.
    pub limit: Option<usize>,
}

/// The answer of `top`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopAnswer {
    /// Up to which epoch.
    pub epoch: u64,
    /// Everything at stake.
    #[serde(with = "amount")]
    pub total: u128,
    /// The largest first.
    pub accounts: Vec<TopEntry>,
}

/// One place in `top`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopEntry {
    /// Whose.
    pub account: Key,
    /// How much.
    #[serde(with = "amount")]
    pub staked: u128,
    /// Of the total, in millionths, rounded down.
    pub millionths: u64,
}

/// Answers `top`.
pub fn top<S: Ordered>(ledger: &Ledger, args: &TopArgs, store: &S) -> Result<TopAnswer, Error> {
    settled(ledger)?;
    if !ranking::is_complete(store) {
        return Err(Error::new("migrating", "the accounts are still being put in order: ask again in a moment"));
    }
    if ledger.meta().half_done().is_some() {
        return Err(Error::new("closing", "an epoch is just being closed: ask again in a moment"));
    }
    let closed = ledger.meta().closed;
    let accounts = ranking::top(store, limit(args.limit.or(Some(10)))?).into_iter();
    let accounts = accounts.map(|(account, staked)| TopEntry {
        account,
        staked,
        millionths: millionths(staked, closed.totals.staked),
    });
    Ok(TopAnswer { epoch: closed.epoch, total: closed.totals.staked, accounts: accounts.collect() })
}

fn millionths(part: u128, whole: u128) -> u64 {
    // Where the product does not fit 128 bits, the whole is so large that dividing it first loses nothing that counts.
    let share =
        part.checked_mul(1_000_000).map_or_else(|| part / (whole / 1_000_000).max(1), |product| product / whole.max(1));
    share.min(1_000_000) as u64
}
