//! Items on their way in: known or not, judged by the plugin, kept and passed on.

use std::rc::Rc;

use super::{Port, Recently, State, Write};
use crate::abi::{PeerId, Verdict};
use crate::gossip::Decision;
use crate::gossip::item::{ItemId, Place};
use crate::gossip::peer::Role;
use crate::gossip::pending::{Incoming, Waiting};

/// Time for a peer to hear that it shall stop pushing, before it is told again and what it pushes is held against it:
/// a burst may have been on its way.
const PRUNED_MS: u64 = 2_000;

impl State {
    /// Items that a peer pushed.
    pub(super) fn pushed(&mut self, from: PeerId, items: &[(u8, &[u8])], now_ms: u64, port: &mut impl Port) {
        for (hops, bytes) in items {
            let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.is_trusted(now_ms)) else { return };
            if !peer.quotas.items.take(1, now_ms) || !peer.quotas.bytes.take(bytes.len() as u64, now_ms) {
                self.stats.over_quota += 1;
                self.strike(from, "it pushes more than it may", now_ms);
                continue;
            }
            if bytes.is_empty() || bytes.len() > self.policy.item_bytes {
                self.stats.malformed += 1;
                self.strike(from, "its items have a wrong size", now_ms);
                continue;
            }
            self.stats.received += 1;
            let id = port.id(bytes);
            if self.knows(&id) || self.was_rejected(bytes) {
                if self.pending.contains(&id) {
                    // Its bytes may be better than those that wait, where an id covers only a part of them.
                    self.missing.announce(id, from, now_ms + self.policy.pending_ms, true);
                }
                self.duplicate(from, now_ms);
            } else {
                let item = Incoming { id, bytes: Rc::from(*bytes), from, hops: hops.saturating_add(1) };
                if self.wait(Waiting { item, since_ms: now_ms, fetched: false }) {
                    self.missing.handed(&id, now_ms + self.policy.pending_ms);
                } else {
                    let later = now_ms + u64::from(self.policy.want_timeout_ms);
                    self.missing.announce(id, from, later, false);
                }
                self.welcome(from, now_ms);
            }
        }
    }

    fn was_rejected(&self, bytes: &[u8]) -> bool {
        self.has_rejected && self.rejected.contains(&ItemId::of(bytes))
    }

    /// Puts an item where the plugin looks for it. False when there is no room.
    fn wait(&mut self, waiting: Waiting) -> bool {
        let (most, most_bytes) = (self.policy.pending, self.policy.pending_bytes);
        let fits =
            self.pending.fits(waiting.item.bytes.len(), most, most_bytes) && self.writes.len() < self.policy.unwritten;
        if fits {
            self.pending.push(waiting);
        } else {
            self.stats.undecided += 1;
        }
        fits
    }

    /// A peer pushed something new: the link is good for the tree.
    fn welcome(&mut self, from: PeerId, now_ms: u64) {
        match self.peers.get_mut(&from) {
            Some(peer) if peer.in_view() => (peer.role, peer.late) = (Role::Eager, 0),
            Some(_) => self.joined(from, false, now_ms),
            None => {}
        }
    }

    /// A peer pushed something known: the link makes a circle.
    fn duplicate(&mut self, from: PeerId, now_ms: u64) {
        self.stats.duplicates += 1;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.role == Role::Eager {
            peer.late += 1;
            if peer.late < self.policy.prune_after {
                return;
            }
            peer.role = Role::Lazy;
            peer.notices.prune = true;
            (peer.pruned_at_ms, peer.reminded_at_ms) = (now_ms, now_ms);
            self.stats.prunes += 1;
            return;
        }
        if now_ms < peer.pruned_at_ms + PRUNED_MS {
            return;
        }
        if now_ms >= peer.reminded_at_ms + PRUNED_MS {
            let aside = peer.role == Role::Aside;
            (peer.notices.leave, peer.notices.prune) = (aside, !aside);
            peer.reminded_at_ms = now_ms;
        }
        if !peer.quotas.unwanted.take(1, now_ms) {
            self.stats.over_quota += 1;
            self.strike(from, "it pushes what is known and what it was asked not to push", now_ms);
        }
    }

    /// A peer announces an item that has come another way. Where that way was much longer, the two links swap: the tree
    /// stays a tree, because an item that is so much nearer to its sender there did not come through here.
    pub(super) fn shorten(&mut self, id: &ItemId, hops: u8, from: PeerId, now_ms: u64) {
        let Some(Recently { hops: made, from: Some(parent), .. }) = self.recent.items.get(id) else { return };
        let (parent, shorter) = (*parent, hops.saturating_add(1).saturating_add(self.policy.shorten_by) < *made);
        let eager = |peer: &Self, id| peer.peers.get(id).map(|peer| peer.role == Role::Eager);
        if !shorter || eager(self, &from) != Some(false) || eager(self, &parent) != Some(true) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.in_view()) {
            (peer.role, peer.late, peer.notices.graft) = (Role::Eager, 0, true);
            self.stats.shortened += 1;
            if let Some(peer) = self.peers.get_mut(&parent) {
                (peer.role, peer.notices.prune, peer.pruned_at_ms) = (Role::Lazy, true, now_ms);
            }
        }
    }

    /// Items that a peer handed over because they were asked for.
    pub(super) fn handed_over(
        &mut self,
        from: PeerId,
        wanted: &[ItemId],
        (more, items): (bool, &[&[u8]]),
        now_ms: u64,
        port: &mut impl Port,
    ) {
        for bytes in items.iter().take(wanted.len()) {
            let id = port.id(bytes);
            if !wanted.contains(&id) || bytes.len() > self.policy.item_bytes {
                self.stats.malformed += 1;
                self.strike(from, "it hands over what was not asked for", now_ms);
                continue;
            }
            self.stats.received += 1;
            if self.knows(&id) {
                self.stats.duplicates += 1;
                self.missing.remove(&id);
            } else if self.was_rejected(bytes) {
                self.missing.failed(&id, from, now_ms);
            } else {
                let fetched = !self.missing.is_graft(&id);
                let item = Incoming { id, bytes: Rc::from(*bytes), from, hops: 0 };
                if self.wait(Waiting { item, since_ms: now_ms, fetched }) {
                    self.missing.handed(&id, now_ms + self.policy.pending_ms);
                } else {
                    self.missing.again(&id, from, now_ms + u64::from(self.policy.want_timeout_ms));
                }
            }
        }
        self.check_promises(from, wanted, more && !items.is_empty(), now_ms);
    }

    /// What was asked for and did not come: once more where there was no room in the answer, else a broken promise.
    fn check_promises(&mut self, from: PeerId, wanted: &[ItemId], more: bool, now_ms: u64) {
        for id in wanted {
            if self.knows(id) || !self.missing.owes(id, from) {
                continue;
            }
            if more {
                self.missing.again(id, from, now_ms);
            } else {
                self.broken(id, from, now_ms);
            }
        }
    }

    /// A peer announced an item and does not hand it over.
    pub(super) fn broken(&mut self, id: &ItemId, from: PeerId, now_ms: u64) {
        self.stats.broken += 1;
        self.missing.failed(id, from, now_ms);
        self.strike(from, "it announces what it does not hand over", now_ms);
    }

    /// The plugin has decided. False when the item does not wait for it.
    pub(in crate::gossip) fn decide(&mut self, id: &ItemId, decision: Decision, now_ms: u64, port: &impl Port) -> bool {
        let Some(Waiting { item, fetched, .. }) = self.pending.remove(id) else { return false };
        match decision {
            Decision::Accept => {
                self.stats.accepted += 1;
                self.missing.remove(id);
                let len = item.bytes.len();
                let write =
                    self.keep(*id, Recently { bytes: item.bytes, hops: item.hops, from: Some(item.from) }, port);
                self.writes.push_back(write);
                self.pass_on((*id, item.hops), len, Some(item.from), fetched, now_ms);
            }
            Decision::Ignore => {
                self.stats.ignored += 1;
                self.missing.remove(id);
                self.seen.insert(*id);
            }
            Decision::Reject => {
                self.stats.rejected += 1;
                // Another peer may hold good bytes under the same name.
                self.missing.failed(id, item.from, now_ms);
                self.rejected.insert(ItemId::of(&item.bytes));
                self.has_rejected = true;
                self.reports.push((item.from, Verdict::Invalid, "its item was rejected"));
                self.strike(item.from, "its items are rejected", now_ms);
            }
        }
        true
    }

    /// An item that this node made, or holds by other means, and wants to spread. False when it is held already.
    pub(in crate::gossip) fn broadcast(&mut self, id: ItemId, bytes: &[u8], now_ms: u64, port: &impl Port) -> bool {
        if self.stamps.contains_key(&id) {
            return false;
        }
        self.stats.broadcast += 1;
        self.pending.remove(&id);
        self.missing.remove(&id);
        let write = self.keep(id, Recently { bytes: Rc::from(bytes), hops: 0, from: None }, port);
        // Before those of others: what answers for it may be waiting for this turn's commit.
        self.writes.push_front(write);
        self.pass_on((id, 0), bytes.len(), None, false, now_ms);
        true
    }

    fn keep(&mut self, id: ItemId, item: Recently, port: &impl Port) -> Write {
        let place = Place { stamp: port.stamp(&item.bytes), id };
        self.hold(place);
        let bytes = item.bytes.clone();
        self.recent.insert(id, item, self.policy.recent_bytes);
        Write { place, bytes }
    }

    /// To the eager peers the item, to the lazy ones its name; what is not new is only announced.
    fn pass_on(&mut self, item: (ItemId, u8), len: usize, from: Option<PeerId>, old: bool, now_ms: u64) {
        let policy = &self.policy;
        for (peer_id, peer) in &mut self.peers {
            if Some(*peer_id) == from {
                continue;
            }
            match peer.role {
                Role::Eager if !old => {
                    let pushed = peer.queue_push(item, len, policy, now_ms);
                    self.stats.debts += u64::from(!pushed);
                }
                Role::Eager | Role::Lazy => peer.queue_have((item.1, item.0), policy, now_ms),
                Role::Aside => {}
            }
        }
    }
}
