//! What two nodes tell each other: what is missing, who has more, and what is pending.

use serde::{Deserialize, Serialize};
use weir_ledger::{Id, Key, Ordered};

use super::{Ledger, Missing};
use crate::items::{Decree, Operation, Page, Proof, Signed};
use crate::layout;
use crate::meta::{Meta, Work};

/// Something that another node may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Want {
    /// The issuer's log from this number on.
    Log {
        /// The first number.
        from: u64,
    },
    /// One item, for instance a page.
    Item(Id),
    /// An item and those before it in its log, newest first, down to this number.
    Chain {
        /// The newest.
        id: Id,
        /// The oldest number.
        from: u64,
    },
    /// All decrees with this number: two of them are a proof.
    Decrees {
        /// In this reign.
        reign: u64,
        /// With this number.
        seq: u64,
    },
}

/// Where a node stands, in a hundred bytes: sent when a peer appears, and from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The network; a peer of another one has nothing to say.
    pub genesis: Id,
    /// The last closed epoch.
    pub epoch: u64,
    /// Over everything closed.
    pub root: Id,
    /// The number behind the last decree that counts, one that is being closed included.
    pub seq: u64,
    /// The id of that last decree.
    pub last: Id,
    /// The best rotation: reign and id.
    pub rotation: Option<(u64, Id)>,
    /// The number from which on the latest issuer's log does not count.
    pub fault: Option<u64>,
}

impl Ledger {
    /// Where this node stands.
    pub fn summary(&self) -> Summary {
        let (tip, closed) = (self.meta.tip, self.meta.closed);
        let (seq, last) = match &self.meta.work {
            Work::Closing(closing) => (closing.seq + 1, closing.id),
            _ => (tip.seq, tip.before),
        };
        Summary {
            genesis: self.genesis.hash(),
            epoch: closed.epoch,
            root: closed.root,
            seq,
            last,
            rotation: self.meta.rotation.map(|rotation| (rotation.reign, rotation.id)),
            fault: self.meta.fault.as_ref().map(|fault| fault.seq),
        }
    }

    /// What a peer's summary makes this node ask it for. None when it has nothing new.
    pub fn hear<S: Ordered>(&mut self, theirs: &Summary, store: &S) -> Option<Want> {
        let ours = self.summary();
        if theirs.genesis != ours.genesis {
            return None;
        }
        if let Some((_, id)) = theirs.rotation.filter(|_| theirs.rotation != ours.rotation)
            && better(theirs.rotation, ours.rotation)
        {
            return Some(Want::Chain { id, from: self.meta.closed.tip.seq });
        }
        if theirs.rotation != ours.rotation {
            return None;
        }
        if let Some(seq) = theirs.fault.filter(|seq| ours.fault.is_none_or(|ours| *seq < ours)) {
            return Some(Want::Decrees { reign: self.meta.issuer().0, seq });
        }
        if ours.fault.is_some() || theirs.last == ours.last {
            return None;
        }
        // The last peer's word, not the highest ever heard: one that lies is forgotten with the next honest one.
        self.ahead = theirs.seq;
        if theirs.seq > ours.seq {
            return Some(Want::Log { from: self.first_unknown(store) });
        }
        // As long as ours or shorter, and not a part of it: two logs, and where they part is the proof.
        let known = theirs.seq == 0 || store.has(&layout::item(theirs.last));
        (!known).then_some(Want::Chain { id: theirs.last, from: self.meta.closed.tip.seq })
    }

    /// The first number behind the log for which no decree is kept.
    fn first_unknown<S: Ordered>(&self, store: &S) -> u64 {
        let mut seq = self.summary().seq;
        while store.prefix(&layout::decrees(self.meta.tip.reign, seq), 1).pop().is_some() {
            seq += 1;
        }
        seq
    }

    /// Everything this node lacks and knows by name, at most `limit` wants.
    pub fn wants<S: Ordered>(&self, store: &S, limit: usize) -> Vec<Want> {
        let floor = self.meta.closed.tip.seq;
        let parents = self.parents.iter().map(|id| Want::Chain { id: *id, from: floor });
        let missing = self.missing.iter().map(|(id, missing)| match missing {
            Missing::Page => Want::Item(*id),
            Missing::Operation { from, .. } => Want::Chain { id: *id, from: *from },
        });
        let mut wants: Vec<_> = parents.chain(missing).take(limit).collect();
        if self.is_behind() && wants.len() < limit {
            wants.push(Want::Log { from: self.first_unknown(store) });
        }
        wants
    }

    /// Whether the peer heard last says that its log is longer.
    pub fn is_behind(&self) -> bool {
        self.ahead > self.summary().seq && self.meta.fault.is_none()
    }

    /// What this node has of what another one wants: items in the order in which to take them, `max_bytes` of them at
    /// most, but at least one if there is one.
    pub fn serve<S: Ordered>(&self, want: &Want, max_bytes: usize, store: &S) -> Vec<Vec<u8>> {
        let mut answer = Answer { items: Vec::new(), left: max_bytes };
        match *want {
            Want::Item(id) => {
                let item = store.get(&layout::item(id)).or_else(|| store.get(&layout::draft(id)));
                item.map(|item| answer.add(item));
            }
            Want::Log { from } => self.serve_log(from, &mut answer, store),
            Want::Chain { id, from } => serve_chain(id, from, &mut answer, store),
            Want::Decrees { reign, seq } => {
                for (key, _) in store.prefix(&layout::decrees(reign, seq), 4) {
                    let item = layout::read_decree(&key).and_then(|(_, id)| store.get(&layout::item(id)));
                    item.map(|item| answer.add(item));
                }
            }
        }
        answer.items
    }

    fn serve_log<S: Ordered>(&self, from: u64, answer: &mut Answer, store: &S) {
        let id_of = |bytes: Vec<u8>| bytes.try_into().ok().map(Id);
        let mut seq = from;
        while seq < self.meta.tip.seq {
            let item = store.get(&layout::log(seq)).and_then(id_of).and_then(|id| store.get(&layout::item(id)));
            if !item.is_some_and(|item| answer.add(item)) {
                return;
            }
            seq += 1;
        }
        // Beyond what counts here: what is being closed, and what waits behind it.
        loop {
            let found = store.prefix(&layout::decrees(self.meta.tip.reign, seq), 4);
            let ids: Vec<_> = found.iter().filter_map(|(key, _)| layout::read_decree(key)).collect();
            let mut items = ids.into_iter().filter_map(|(_, id)| store.get(&layout::item(id)));
            if found.is_empty() || !items.all(|item| answer.add(item)) {
                return;
            }
            seq += 1;
        }
    }

    /// Pending operations by account and number, `limit` at most.
    pub fn pending<S: Ordered>(&self, limit: usize, store: &S) -> Vec<(Key, u64, Id)> {
        store.prefix(layout::PENDING, limit).iter().filter_map(|(key, _)| layout::read_pending(key)).collect()
    }

    /// Proofs that no epoch has applied yet; they are reconciled with what is pending.
    pub fn open_proofs<S: Ordered>(&self, store: &S) -> Vec<Proof> {
        let proofs = store.prefix(layout::PROOFS, usize::MAX);
        let proofs = proofs.into_iter().filter_map(|(_, bytes)| Proof::decode(&bytes).ok());
        proofs.filter(|proof| !self.is_applied(proof, store)).collect()
    }

    /// The ids that set reconciliation is about, of pending operations and open proofs: out of at most `limit` entries of the store behind the key `after`, and the key to go on behind
    /// unless these were all. They are in no order that means anything.
    pub fn open_items<S: Ordered>(after: Option<&[u8]>, limit: usize, store: &S) -> (Vec<Id>, Option<Vec<u8>>) {
        let meta: Option<Meta> = store.record(layout::META);
        let applied = |proof: &Proof| meta.as_ref().is_some_and(|meta| meta.has_applied(proof, store));
        let id = |(key, value): &(Vec<u8>, Vec<u8>)| match layout::read_pending(key) {
            Some((_, _, id)) if key.starts_with(layout::PENDING) => Some(id),
            _ => Proof::decode(value).ok().filter(|proof| !applied(proof)).map(|proof| proof.id()),
        };
        // Proofs stand right behind pending operations, so both are one range.
        let start = after.map_or_else(|| layout::PENDING.to_vec(), weir_ledger::store::after_key);
        let found = store.range(&start, weir_ledger::store::after_prefix(layout::PROOFS).as_deref(), limit);
        let next = found.last().filter(|_| found.len() == limit).map(|(key, _)| key.clone());
        (found.iter().filter_map(id).collect(), next)
    }

    /// Whether the closed state has the account frozen.
    pub fn is_applied<S: Ordered>(&self, proof: &Proof, store: &S) -> bool {
        self.meta.has_applied(proof, store)
    }

    /// The bytes of an item.
    pub fn item<S: Ordered>(&self, id: Id, store: &S) -> Option<Vec<u8>> {
        store.get(&layout::item(id))
    }

    /// The bytes of a page, of an epoch or of one of the last drafts.
    pub fn page_bytes<S: Ordered>(&self, id: Id, store: &S) -> Option<Vec<u8>> {
        let kept = store.get(&layout::item(id)).or_else(|| store.get(&layout::draft(id)));
        kept.filter(|bytes| Page::looks_like_one(bytes))
    }

    /// Peers that have shown the epoch which is being closed, and so may have what it names.
    pub fn sources(&self) -> Vec<Key> {
        match &self.meta.work {
            Work::Closing(closing) => {
                self.sources.iter().filter(|(id, _)| *id == closing.id).map(|(_, peer)| *peer).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What is missing, and which peers have shown the epoch that names it.
    pub fn missing(&self) -> (Vec<(Id, Option<Key>)>, Vec<Key>) {
        let account = |missing: &Missing| match missing {
            Missing::Page => None,
            Missing::Operation { include, .. } => Some(include.account),
        };
        let missing = self.missing.iter().map(|(id, missing)| (*id, account(missing)));
        let decrees = self.parents.iter().map(|id| (*id, None));
        (decrees.chain(missing).collect(), self.sources())
    }
}

/// Whether one rotation counts more than another.
fn better(one: Option<(u64, Id)>, other: Option<(u64, Id)>) -> bool {
    let rank = |rotation: Option<(u64, Id)>| rotation.map(|(reign, id)| (reign, std::cmp::Reverse(id)));
    rank(one) > rank(other)
}

struct Answer {
    items: Vec<Vec<u8>>,
    left: usize,
}

impl Answer {
    /// False when it is full.
    fn add(&mut self, item: Vec<u8>) -> bool {
        if item.len() > self.left && !self.items.is_empty() {
            return false;
        }
        self.left = self.left.saturating_sub(item.len());
        self.items.push(item);
        true
    }
}

fn serve_chain<S: Ordered>(id: Id, from: u64, answer: &mut Answer, store: &S) {
    let mut next = Some(id);
    while let Some(id) = next {
        let Some(item) = store.get(&layout::item(id)) else { return };
        next = before(&item).filter(|(seq, _)| *seq > from).map(|(_, before)| before);
        if !answer.add(item) {
            return;
        }
    }
}

/// The number of an operation or decree, and the id before it.
fn before(item: &[u8]) -> Option<(u64, Id)> {
    if let Ok(operation) = Signed::<Operation>::decode(item) {
        return Some((operation.body().seq, operation.body().before));
    }
    let decree = Signed::<Decree>::decode(item).ok()?;
    Some((decree.body().seq, decree.body().before))
}
