//! Where things are in the store: data version 1. Numbers are big-endian, so ranges of keys are ranges of numbers.
//!
//! | key | value | |
//! |---|---|---|
//! | `m` | `Meta` | where the ledger stands |
//! | `i` id | bytes | every item kept, by its id |
//! | `d` id | bytes | pages of the last drafts, which no epoch may name yet |
//! | `r` reign, number, id | | decrees by number, at most two with one |
//! | `g` number | id | the issuer's log that counts |
//! | `f` rotation, number | id | the log that a rotation chooses, while it is looked for |
//! | `o` account | | has a mint, closed or not, and may have pending operations |
//! | `p` account, number, id | 1 or nothing | pending operations, those that an epoch has named with a 1 |
//! | `l` account, number | id | included operations |
//! | `q` account | bytes | proof against an account, applied or not |
//! | `a` account | `Account` | the closed state, and one that is being folded |
//! | `b` bucket | hash | hashes over the closed state |
//! | `e` epoch | `EpochRecord` | closed epochs |
//! | `c` epoch, account | `Account` or nothing | what the account was before this epoch changed it |
//! | `v` epoch, bucket | hash | what the bucket's hash was before |
//! | `s` epoch, account | stake | stakes that this epoch changed |
//! | `h` account, epoch | stake | the same by account |
//! | `n` epoch, topic, id | | anchors |
//! | `x` account, number | epoch, `Refusal` | included operations that did nothing |
//! | `z` number | epoch, `Refusal` | mints that did nothing |
//!
//! Data version 2 adds `t` (stake from large to small, account): see [`crate::ranking`].
//! Nothing is pruned: what is closed must be served to whoever was away, and an issuer's two logs lead back to any epoch.

use weir_ledger::store::key;
use weir_ledger::{Id, Key};

use crate::items::Anchor;

pub const META: &[u8] = b"m";

pub fn item(id: Id) -> Vec<u8> {
    key(b'i', &[&id.0])
}

pub const DRAFTS: &[u8] = b"d";

pub fn draft(id: Id) -> Vec<u8> {
    key(b'd', &[&id.0])
}

/// The id out of a key made by [`draft`].
pub fn read_draft(key: &[u8]) -> Option<Id> {
    Some(Id(key.get(1..)?.try_into().ok()?))
}

pub fn decrees(reign: u64, seq: u64) -> Vec<u8> {
    key(b'r', &[&reign.to_be_bytes(), &seq.to_be_bytes()])
}

pub fn reign(reign: u64) -> Vec<u8> {
    key(b'r', &[&reign.to_be_bytes()])
}

pub fn decree(reign: u64, seq: u64, id: Id) -> Vec<u8> {
    key(b'r', &[&reign.to_be_bytes(), &seq.to_be_bytes(), &id.0])
}

/// Number and id out of a key made by [`decree`].
pub fn read_decree(key: &[u8]) -> Option<(u64, Id)> {
    Some((number(key.get(9..17)?)?, Id(key.get(17..)?.try_into().ok()?)))
}

pub fn log(seq: u64) -> Vec<u8> {
    key(b'g', &[&seq.to_be_bytes()])
}

pub fn forced(rotation: Id, seq: u64) -> Vec<u8> {
    key(b'f', &[&rotation.0, &seq.to_be_bytes()])
}

pub fn minted(account: Key) -> Vec<u8> {
    key(b'o', &[&account.0])
}

pub const PENDING: &[u8] = b"p";
/// Of a pending operation that an epoch has named, be it one that was undone.
pub const NAMED: &[u8] = &[1];

pub fn pending_of(account: Key) -> Vec<u8> {
    key(b'p', &[&account.0])
}

pub fn pending_at(account: Key, seq: u64) -> Vec<u8> {
    key(b'p', &[&account.0, &seq.to_be_bytes()])
}

pub fn pending(account: Key, seq: u64, id: Id) -> Vec<u8> {
    key(b'p', &[&account.0, &seq.to_be_bytes(), &id.0])
}

/// Account, number and id out of a key made by [`pending`].
pub fn read_pending(key: &[u8]) -> Option<(Key, u64, Id)> {
    let account = Key(key.get(1..33)?.try_into().ok()?);
    Some((account, number(key.get(33..41)?)?, Id(key.get(41..)?.try_into().ok()?)))
}

pub fn included(account: Key, seq: u64) -> Vec<u8> {
    key(b'l', &[&account.0, &seq.to_be_bytes()])
}

pub const PROOFS: &[u8] = b"q";

pub fn proof(account: Key) -> Vec<u8> {
    key(b'q', &[&account.0])
}

pub const ACCOUNTS: &[u8] = b"a";

pub fn account(account: Key) -> Vec<u8> {
    key(b'a', &[&account.0])
}

/// The account out of a key of one tag and one account.
pub fn read_account(key: &[u8]) -> Option<Key> {
    Some(Key(key.get(1..33)?.try_into().ok()?))
}

pub const BUCKET_HASHES: &[u8] = b"b";

pub fn bucket(bucket: u16) -> Vec<u8> {
    key(b'b', &[&bucket.to_be_bytes()])
}

pub fn epoch(epoch: u64) -> Vec<u8> {
    key(b'e', &[&epoch.to_be_bytes()])
}

pub fn changes(epoch: u64) -> Vec<u8> {
    key(b'c', &[&epoch.to_be_bytes()])
}

pub fn change(epoch: u64, account: Key) -> Vec<u8> {
    key(b'c', &[&epoch.to_be_bytes(), &account.0])
}

pub fn buckets_before(epoch: u64) -> Vec<u8> {
    key(b'v', &[&epoch.to_be_bytes()])
}

pub fn bucket_before(epoch: u64, bucket: u16) -> Vec<u8> {
    key(b'v', &[&epoch.to_be_bytes(), &bucket.to_be_bytes()])
}

pub fn stakes(epoch: u64) -> Vec<u8> {
    key(b's', &[&epoch.to_be_bytes()])
}

pub fn stake(epoch: u64, account: Key) -> Vec<u8> {
    key(b's', &[&epoch.to_be_bytes(), &account.0])
}

/// Epoch and account out of a key made by [`stake`] or [`change`].
pub fn read_stake(key: &[u8]) -> Option<(u64, Key)> {
    Some((number(key.get(1..9)?)?, Key(key.get(9..)?.try_into().ok()?)))
}

pub fn history_of(account: Key) -> Vec<u8> {
    key(b'h', &[&account.0])
}

pub fn history(account: Key, epoch: u64) -> Vec<u8> {
    key(b'h', &[&account.0, &epoch.to_be_bytes()])
}

pub fn anchors(epoch: u64) -> Vec<u8> {
    key(b'n', &[&epoch.to_be_bytes()])
}

pub fn anchor(epoch: u64, anchor: &Anchor) -> Vec<u8> {
    key(b'n', &[&epoch.to_be_bytes(), &anchor.topic.bytes(), &anchor.id.0])
}

pub fn refusals_of(account: Key) -> Vec<u8> {
    key(b'x', &[&account.0])
}

pub fn refusal(account: Key, seq: u64) -> Vec<u8> {
    key(b'x', &[&account.0, &seq.to_be_bytes()])
}

/// The number at the end of a key.
pub fn read_last_number(key: &[u8]) -> Option<u64> {
    number(key.get(key.len().checked_sub(8)?..)?)
}

pub fn mint_refusal(seq: u64) -> Vec<u8> {
    key(b'z', &[&seq.to_be_bytes()])
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
