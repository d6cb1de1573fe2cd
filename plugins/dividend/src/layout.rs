//! Where things are in the store: data version 2. Numbers are big-endian, so ranges of keys are ranges of numbers.
//!
//! | key | value | |
//! |---|---|---|
//! | `m` | `Meta` | where the dividends stand |
//! | `i` id | bytes | declarations, all of them, and the claim that counts of each account |
//! | `o` payer, number, id | | declarations that no epoch has anchored |
//! | `d` epoch, id | `Outcome` | declarations that one has |
//! | `u` payer, number | epoch | numbers that count |
//! | `w` id | epoch | where an anchored declaration stands |
//! | `t` epoch | `Accumulator` | after an epoch that changed it |
//! | `k` account, epoch | `Position` | after an epoch that changed its stake |
//! | `c` account | epoch, id | the claim that counts |
//! | `s` account | epoch, id | a claim set aside: staking undid all epochs in which the account had stake |
//! | `b` bucket | hash | over the claims |
//!
//! `d`, `u`, `w`, `t` and `k` follow from staking's epochs and are made again when staking goes back. The claims in `c` go
//! to `s` then, and come back with the account's first `k`.
//! Version 1 did not say in `m` of which epoch a part is in: what such a store derived is made again, once.

use weir_ledger::store::key;
use weir_ledger::{Id, Key};

pub const META: &[u8] = b"m";
pub const OPEN: &[u8] = b"o";
pub const DECLARED: &[u8] = b"d";
pub const POSITIONS: &[u8] = b"k";
pub const CLAIMS: &[u8] = b"c";
pub const BUCKETS: &[u8] = b"b";
/// What is made again when staking goes back. Without stakes no claim comes in, so those are the last ones that are taken out.
pub const DERIVED: [&[u8]; 7] = [b"d", b"u", b"w", b"t", b"k", CLAIMS, BUCKETS];

pub fn item(id: Id) -> Vec<u8> {
    key(b'i', &[&id.0])
}

pub fn open(payer: Key, number: u64, id: Id) -> Vec<u8> {
    key(b'o', &[&payer.0, &number.to_be_bytes(), &id.0])
}

pub fn open_of(payer: Key) -> Vec<u8> {
    key(b'o', &[&payer.0])
}

pub fn open_at(payer: Key, number: u64) -> Vec<u8> {
    key(b'o', &[&payer.0, &number.to_be_bytes()])
}

pub fn declared(epoch: u64, id: Id) -> Vec<u8> {
    key(b'd', &[&epoch.to_be_bytes(), &id.0])
}

pub fn used(payer: Key, number: u64) -> Vec<u8> {
    key(b'u', &[&payer.0, &number.to_be_bytes()])
}

pub fn used_of(payer: Key) -> Vec<u8> {
    key(b'u', &[&payer.0])
}

pub fn anchored(id: Id) -> Vec<u8> {
    key(b'w', &[&id.0])
}

pub fn after_epoch(epoch: u64) -> Vec<u8> {
    key(b't', &[&epoch.to_be_bytes()])
}

pub fn position_of(account: Key) -> Vec<u8> {
    key(b'k', &[&account.0])
}

pub fn position(account: Key, epoch: u64) -> Vec<u8> {
    key(b'k', &[&account.0, &epoch.to_be_bytes()])
}

pub fn claim(account: Key) -> Vec<u8> {
    key(b'c', &[&account.0])
}

pub fn set_aside(account: Key) -> Vec<u8> {
    key(b's', &[&account.0])
}

pub fn bucket(bucket: u16) -> Vec<u8> {
    key(b'b', &[&bucket.to_be_bytes()])
}

/// The id at the end of a key.
pub fn read_id(key: &[u8]) -> Option<Id> {
    key.last_chunk().copied().map(Id)
}

/// The account behind the tag.
pub fn read_account(key: &[u8]) -> Option<Key> {
    Some(Key(key.get(1..33)?.try_into().ok()?))
}

/// The number behind the tag.
pub fn read_epoch(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// The number behind the tag and a key.
pub fn read_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(33..41)?.try_into().ok()?))
}
