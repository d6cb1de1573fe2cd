//! Data version 2 (release 1.1): the accounts by stake, largest first, for the command `top`.
//!
//! One more kind of key: `t` ‖ (2^128 − 1 − stake) ‖ account. The migration reads every account once, a piece at a time, and
//! version 1.1 keeps it up from then on. Whatever is folded meanwhile is written by both, so nothing is missed; `top`
//! answers when the migration is through.

use serde::{Deserialize, Serialize};
use weir_ledger::store::after_key;
use weir_ledger::{Key, Ordered};

use crate::account::Account;
use crate::layout;

const TAG: u8 = b't';
const PROGRESS: &[u8] = b"w";

/// How far the migration is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Accounts behind this key of the store are still to be read.
    After(Vec<u8>),
    /// All are.
    Complete,
}

fn key(stake: u128, account: Key) -> Vec<u8> {
    let mut key = vec![TAG];
    key.extend((u128::MAX - stake).to_be_bytes());
    key.extend(account.0);
    key
}

/// A stake changed.
pub fn moved<S: Ordered>(account: Key, before: u128, after: u128, store: &mut S) {
    if before == after {
        return;
    }
    if before > 0 {
        store.remove(&key(before, account));
    }
    if after > 0 {
        store.put(&key(after, account), &[]);
    }
}

/// Migrates the next `limit` accounts. True when the index is complete.
pub fn migrate<S: Ordered>(store: &mut S, limit: usize) -> bool {
    let start = match store.record(PROGRESS) {
        Some(Progress::Complete) => return true,
        Some(Progress::After(key)) => after_key(&key),
        None => layout::ACCOUNTS.to_vec(),
    };
    let end = weir_ledger::store::after_prefix(layout::ACCOUNTS);
    let found = store.range(&start, end.as_deref(), limit);
    for (place, value) in &found {
        if let (Some(account), Ok(state)) = (layout::read_account(place), weir_sdk::decode::<Account>(value)) {
            moved(account, 0, state.staked, store);
        }
    }
    let progress = match found.last() {
        Some((place, _)) if found.len() == limit => Progress::After(place.clone()),
        _ => Progress::Complete,
    };
    store.put_record(PROGRESS, &progress);
    progress == Progress::Complete
}

/// Whether the index can be read.
pub fn is_complete<S: Ordered>(store: &S) -> bool {
    store.record(PROGRESS) == Some(Progress::Complete)
}

/// The accounts with the largest stakes.
pub fn top<S: Ordered>(store: &S, limit: usize) -> Vec<(Key, u128)> {
    let read = |key: &[u8]| {
        let stake = u128::MAX - u128::from_be_bytes(key.get(1..17)?.try_into().ok()?);
        Some((Key(key.get(17..)?.try_into().ok()?), stake))
    };
    store.prefix(&[TAG], limit).iter().filter_map(|(key, _)| read(key)).collect()
}
