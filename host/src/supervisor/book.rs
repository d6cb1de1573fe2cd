//! The address book: what every peer last said of itself in a signed record. Pure.
//!
//! Invariants:
//! - At most `limit` records, each verified before it came in, at most one a peer: the one with the highest sequence.
//! - When it is full, the network from which most records came loses its oldest one; a record of a wanted peer is the
//!   last to go. Whoever makes thousands of keys so pushes out its own.
//! - Nothing is said of a record that has expired, or of an address that is not plausible from here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::addresses::plausible;
use crate::peer::PeerId;
use crate::wire::{AddressRecord, SignedAddressRecord};

/// The longest that a record counts after it was learned, whatever it says itself: 30 days. A record that a wrong clock
/// dated too far ahead stands in the way of its successors no longer than this.
const LONGEST_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A record as it is kept, to be verified again when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookRecord {
    /// Whose.
    pub peer: PeerId,
    /// In the peer's own words.
    pub signed: SignedAddressRecord,
    /// From where the peer's packets came when it said so.
    pub seen: IpAddr,
    /// When it says nothing any more, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    kept: BookRecord,
    record: AddressRecord,
    /// Greater is later.
    learned: u64,
}

/// What came of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learned {
    /// It counts now.
    New,
    /// A later one is known, or it says nothing.
    Old,
}

/// All records.
#[derive(Debug)]
pub(super) struct Book {
    limit: usize,
    entries: BTreeMap<PeerId, Entry>,
    last: u64,
}

impl Book {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, entries: BTreeMap::new(), last: 0 }
    }

    /// Takes a record that `verify` has passed for this peer. `is_wanted` says whose records go last.
    pub(super) fn learn(
        &mut self,
        signed: SignedAddressRecord,
        record: AddressRecord,
        seen: IpAddr,
        now_unix_ms: u64,
        is_wanted: impl Fn(&PeerId) -> bool,
    ) -> Learned {
        let until_unix_ms = record.expires_unix_ms.min(now_unix_ms.saturating_add(LONGEST_MS));
        let peer = PeerId::from_bytes(record.peer);
        self.insert(BookRecord { peer, signed, seen, until_unix_ms }, record, now_unix_ms, is_wanted)
    }

    /// Takes what was kept, when it still verifies and has not expired.
    pub(super) fn restore(&mut self, kept: BookRecord, now_unix_ms: u64) -> Learned {
        let until_unix_ms = kept.until_unix_ms.min(now_unix_ms.saturating_add(LONGEST_MS));
        match kept.signed.verify(&kept.peer, now_unix_ms) {
            Ok(record) => self.insert(BookRecord { until_unix_ms, ..kept }, record, now_unix_ms, |_| false),
            Err(_) => Learned::Old,
        }
    }

    fn insert(
        &mut self,
        kept: BookRecord,
        record: AddressRecord,
        now_unix_ms: u64,
        is_wanted: impl Fn(&PeerId) -> bool,
    ) -> Learned {
        let peer = kept.peer;
        let current = self.entries.get(&peer).filter(|entry| entry.kept.until_unix_ms > now_unix_ms);
        if kept.until_unix_ms <= now_unix_ms || current.is_some_and(|entry| entry.record.sequence >= record.sequence) {
            return Learned::Old;
        }
        self.last += 1;
        self.entries.insert(peer, Entry { kept, record, learned: self.last });
        self.make_room(now_unix_ms, is_wanted);
        if self.entries.contains_key(&peer) { Learned::New } else { Learned::Old }
    }

    /// Where the peer says it may be reached, as far as that can be right from here.
    pub(super) fn addresses(&self, peer: &PeerId, now_unix_ms: u64) -> Vec<SocketAddr> {
        let entry = self.entries.get(peer).filter(|entry| entry.kept.until_unix_ms > now_unix_ms);
        let Some(Entry { kept, record, .. }) = entry else { return Vec::new() };
        record.addresses.iter().filter(|address| plausible(address, kept.seen)).copied().collect()
    }

    /// Forgets a peer; true when something was known.
    pub(super) fn forget(&mut self, peer: &PeerId) -> bool {
        self.entries.remove(peer).is_some()
    }

    /// Everything that still counts, the oldest first, so that what is read again has the same order.
    pub(super) fn records(&self, now_unix_ms: u64) -> Vec<BookRecord> {
        let mut fresh: Vec<&Entry> = self.entries.values().filter(|e| e.kept.until_unix_ms > now_unix_ms).collect();
        fresh.sort_by_key(|entry| entry.learned);
        fresh.into_iter().map(|entry| entry.kept.clone()).collect()
    }

    fn make_room(&mut self, now_unix_ms: u64, is_wanted: impl Fn(&PeerId) -> bool) {
        if self.entries.len() <= self.limit {
            return;
        }
        self.entries.retain(|_, entry| entry.kept.until_unix_ms > now_unix_ms);
        while self.entries.len() > self.limit {
            let mut networks: BTreeMap<Network, usize> = BTreeMap::new();
            for (peer, entry) in &self.entries {
                *networks.entry(network(entry.kept.seen)).or_default() += usize::from(!is_wanted(peer));
            }
            let crowd = |entry: &Entry| networks.get(&network(entry.kept.seen)).copied().unwrap_or(0);
            let last = self
                .entries
                .iter()
                .max_by_key(|(peer, entry)| (!is_wanted(peer), crowd(entry), std::cmp::Reverse(entry.learned)));
            let Some(goes) = last.map(|(peer, _)| *peer) else { return };
            self.entries.remove(&goes);
        }
    }
}

/// What one owner of addresses usually has: a /24 of IPv4, a /48 of IPv6.
type Network = (bool, [u8; 6]);

fn network(ip: IpAddr) -> Network {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            (true, [a, b, c, 0, 0, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            (false, [a, b, c, d, e, f])
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
