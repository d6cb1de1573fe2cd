//! What two nodes compare of their claims: hashes of groups, then of buckets, then the claims of the buckets that differ.
//!
//! The claims that count stay for ever, one an account, so there may be more of them than an index in memory takes. The
//! hashes are kept anyway, for the root, and find what differs among a million claims with three questions.

use serde::{Deserialize, Serialize};
use weir_ledger::{Buckets, GROUP, Id, Key, Ordered};

use super::Pot;
use super::claims::read_claim;
use crate::layout;

/// Claims that are read at once.
const PAGE: usize = 256;

/// Where a node stands with its claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The last epoch in the dividends: claims of accounts that had stake up to there can count.
    pub epoch: u64,
    /// Over all claims that count.
    pub claims: Id,
}

/// The claims of one group that a node wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Which group.
    pub group: u16,
    /// The hashes of its buckets as the asking node has them, all 64.
    pub buckets: Vec<Id>,
    /// The first account.
    pub from: Option<Key>,
}

/// Claims of buckets that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The bytes of the items.
    pub claims: Vec<Vec<u8>>,
    /// The account to go on from; none when these were all of the group.
    pub next: Option<Key>,
}

impl Pot {
    /// Where this node stands.
    pub fn summary(&self) -> Summary {
        Summary { epoch: self.meta.epoch, claims: self.claimed.root() }
    }

    /// Whether a peer with this summary may have claims that this node lacks and can take.
    pub fn may_lack(&self, theirs: &Summary) -> bool {
        !self.is_clearing() && theirs.epoch <= self.meta.epoch && theirs.claims != self.claimed.root()
    }

    /// The hashes of all groups.
    pub fn groups(&self) -> Vec<Id> {
        self.claimed.groups().collect()
    }

    /// The groups in which a node with these hashes differs from this one; none for what is no list of all groups.
    pub fn differing_groups(&self, theirs: &[Id]) -> Vec<u16> {
        if theirs.len() != usize::from(GROUP) {
            return Vec::new();
        }
        let pairs = (0..).zip(self.claimed.groups().zip(theirs));
        pairs.filter(|(_, (ours, theirs))| ours != *theirs).map(|(group, _)| group).collect()
    }

    /// What to ask for in one group.
    pub fn wanted(&self, group: u16, from: Option<Key>) -> Wanted {
        Wanted { group, buckets: self.claimed.of_group(group).map(|(_, hash)| hash).collect(), from }
    }

    /// The claims of a group's differing buckets, as far as they fit so many bytes, but at least one if there is one.
    pub fn find<S: Ordered>(&self, wanted: &Wanted, max_bytes: usize, store: &S) -> Found {
        let (mut found, mut left) = (Found::default(), max_bytes);
        if wanted.buckets.len() != usize::from(GROUP) || wanted.group >= GROUP {
            return found;
        }
        let differing = self.claimed.of_group(wanted.group).zip(&wanted.buckets);
        for ((bucket, _), _) in differing.filter(|((_, ours), theirs)| ours != *theirs) {
            let (start, end) = Buckets::range(bucket);
            let key = |from: &[u8]| [layout::CLAIMS, from].concat();
            let (mut start, end) = (key(&start), end.map(|end| key(&end)));
            if let Some(from) = &wanted.from {
                start = start.max(key(&from.0));
            }
            let end = end.or_else(|| weir_ledger::store::after_prefix(layout::CLAIMS));
            loop {
                let page = store.range(&start, end.as_deref(), PAGE);
                for (place, value) in &page {
                    let item = read_claim(value).and_then(|(_, id)| store.get(&layout::item(id)));
                    let Some(item) = item else { continue };
                    if item.len() > left && !found.claims.is_empty() {
                        found.next = layout::read_account(place);
                        return found;
                    }
                    left = left.saturating_sub(item.len());
                    found.claims.push(item);
                }
                match page.last().filter(|_| page.len() == PAGE) {
                    Some((last, _)) => start = weir_ledger::store::after_key(last),
                    None => break,
                }
            }
        }
        found
    }
}
