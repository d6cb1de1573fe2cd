//! Items that wait for the plugin's decision. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::item::ItemId;
use crate::abi::PeerId;

/// An item that came from a peer and is to be judged.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its name, for [`super::Gossip::decide`].
    pub id: ItemId,
    /// Its bytes.
    pub bytes: Rc<[u8]>,
    /// Who sent it; it need not be who made it.
    pub from: PeerId,
    /// The hops that it made since its sender first pushed it; 0 where it was asked for.
    pub hops: u8,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub item: Incoming,
    pub since_ms: u64,
    /// It came because it was missing, not along the tree.
    pub fetched: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pending {
    items: BTreeMap<ItemId, Waiting>,
    /// In the order in which they came.
    order: VecDeque<ItemId>,
    /// Those the plugin has not been shown.
    fresh: VecDeque<ItemId>,
    bytes: usize,
}

impl Pending {
    pub(super) fn contains(&self, id: &ItemId) -> bool {
        self.items.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether another item of so many bytes fits.
    pub(super) fn fits(&self, bytes: usize, most: usize, most_bytes: usize) -> bool {
        self.items.len() < most && self.bytes + bytes <= most_bytes
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        let id = waiting.item.id;
        self.bytes += waiting.item.bytes.len();
        self.order.push_back(id);
        self.fresh.push_back(id);
        self.items.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: &ItemId) -> Option<Waiting> {
        let waiting = self.items.remove(id)?;
        self.bytes -= waiting.item.bytes.len();
        if self.order.front() == Some(id) {
            self.order.pop_front();
        }
        // The queues keep ids of what is gone until they come up, but not many more than there are items.
        if self.order.len() > 2 * self.items.len() + 16 {
            self.order.retain(|id| self.items.contains_key(id));
        }
        Some(waiting)
    }

    /// The next that the plugin has not been shown.
    pub(super) fn next(&mut self) -> Option<Incoming> {
        while let Some(id) = self.fresh.pop_front() {
            if let Some(waiting) = self.items.get(&id) {
                return Some(waiting.item.clone());
            }
        }
        None
    }

    /// Forgets those that have waited since before this moment: how many.
    pub(super) fn expire(&mut self, before_ms: u64) -> usize {
        let mut expired = 0;
        while let Some(id) = self.order.front().copied() {
            match self.items.get(&id) {
                Some(waiting) if waiting.since_ms >= before_ms => break,
                Some(_) => {
                    self.remove(&id);
                    expired += 1;
                }
                None => drop(self.order.pop_front()),
            }
        }
        expired
    }
}
