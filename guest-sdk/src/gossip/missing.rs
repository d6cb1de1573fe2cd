//! What peers announced and is not here: whom to ask, and when. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::item::ItemId;
use super::policy::Policy;
use crate::abi::PeerId;

#[derive(Debug)]
struct Lost {
    /// Who says that it has it, in the order to be asked.
    announcers: Vec<PeerId>,
    asked: Option<PeerId>,
    due_ms: u64,
    /// It was announced as new: whoever hands it over is asked to push from then on.
    graft: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Missing {
    /// Items that there is room for, and announcers of each.
    most: usize,
    most_announcers: usize,
    items: BTreeMap<ItemId, Lost>,
    due: BTreeSet<(u64, ItemId)>,
}

impl Missing {
    pub(super) fn new(policy: &Policy) -> Self {
        let (most, most_announcers) = (policy.missing, policy.announcers);
        Self { most, most_announcers, items: BTreeMap::new(), due: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Notes that a peer has an item. False when there is no room for another one.
    pub(super) fn announce(&mut self, id: ItemId, peer: PeerId, due_ms: u64, graft: bool) -> bool {
        if let Some(lost) = self.items.get_mut(&id) {
            if lost.announcers.len() < self.most_announcers && !lost.announcers.contains(&peer) {
                lost.announcers.push(peer);
            }
            return true;
        }
        if self.items.len() >= self.most {
            return false;
        }
        self.items.insert(id, Lost { announcers: vec![peer], asked: None, due_ms, graft });
        self.due.insert((due_ms, id));
        true
    }

    /// It is here, or nobody can have it.
    pub(super) fn remove(&mut self, id: &ItemId) {
        if let Some(lost) = self.items.remove(id) {
            self.due.remove(&(lost.due_ms, *id));
        }
    }

    /// Whether this peer was asked for it and owes it.
    pub(super) fn owes(&self, id: &ItemId, peer: PeerId) -> bool {
        self.items.get(id).is_some_and(|lost| lost.asked == Some(peer))
    }

    /// Whether it was announced as new, so that who hands it over shall push from then on.
    pub(super) fn is_graft(&self, id: &ItemId) -> bool {
        self.items.get(id).is_some_and(|lost| lost.graft)
    }

    /// It is here and waits for the plugin's decision, which removes it, or calls for the next announcer.
    pub(super) fn handed(&mut self, id: &ItemId, until_ms: u64) {
        self.move_to(*id, until_ms);
    }

    /// When something is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    fn move_to(&mut self, id: ItemId, due_ms: u64) {
        if let Some(lost) = self.items.get_mut(&id) {
            self.due.remove(&(lost.due_ms, id));
            lost.due_ms = due_ms;
            self.due.insert((due_ms, id));
        }
    }

    /// What is to be asked for now, by peer and whether it is a graft. `can` says how many more a peer may be asked for.
    /// Whatever finds no free peer is due again a little later.
    pub(super) fn take_due(
        &mut self,
        now_ms: u64,
        again_ms: u64,
        asked_until_ms: u64,
        mut can: impl FnMut(&PeerId) -> usize,
    ) -> BTreeMap<(PeerId, bool), Vec<ItemId>> {
        let mut asks: BTreeMap<(PeerId, bool), Vec<ItemId>> = BTreeMap::new();
        let mut room: BTreeMap<PeerId, usize> = BTreeMap::new();
        let due: Vec<_> = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).map(|(_, id)| *id).collect();
        for id in due {
            let Some(lost) = self.items.get_mut(&id) else { continue };
            let free =
                lost.announcers.iter().find(|peer| *room.entry(**peer).or_insert_with(|| can(peer)) > 0).copied();
            let Some(peer) = free else {
                self.move_to(id, again_ms);
                continue;
            };
            lost.asked = Some(peer);
            if let Some(left) = room.get_mut(&peer) {
                *left -= 1;
            }
            asks.entry((peer, lost.graft)).or_default().push(id);
            self.move_to(id, asked_until_ms);
        }
        asks
    }

    /// The peer cannot be asked for it any more, or did not hand it over: the next one is, if there is one.
    pub(super) fn failed(&mut self, id: &ItemId, peer: PeerId, now_ms: u64) {
        let Some(lost) = self.items.get_mut(id) else { return };
        lost.announcers.retain(|announcer| *announcer != peer);
        if lost.asked == Some(peer) {
            lost.asked = None;
        }
        if lost.announcers.is_empty() {
            self.remove(id);
        } else if self.items.get(id).is_some_and(|lost| lost.asked.is_none()) {
            self.move_to(*id, now_ms);
        }
    }

    /// The peer answered, but not with this one, for want of room: it is asked again.
    pub(super) fn again(&mut self, id: &ItemId, peer: PeerId, due_ms: u64) {
        if self.owes(id, peer) {
            if let Some(lost) = self.items.get_mut(id) {
                lost.asked = None;
                // The others first, so that one that puts off for ever keeps nothing back.
                lost.announcers.retain(|announcer| *announcer != peer);
                lost.announcers.push(peer);
            }
            self.move_to(*id, due_ms);
        }
    }

    /// The peer is gone, or nothing is taken from it any more.
    pub(super) fn forget_peer(&mut self, peer: PeerId, now_ms: u64) {
        let known = self.items.iter().filter(|(_, lost)| lost.announcers.contains(&peer)).map(|(id, _)| *id);
        for id in known.collect::<Vec<_>>() {
            self.failed(&id, peer, now_ms);
        }
    }
}
