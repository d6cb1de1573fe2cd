//! The active view: the handful of connected peers that items are pushed or announced to.

use super::{Port, State};
use crate::abi::PeerId;
use crate::gossip::peer::{Peer, Role};

/// How often a peer gives way to one that has nobody.
const GIVES_WAY_MS: u64 = 10_000;
/// How long a peer that had no place is not asked again.
const REFUSED_MS: u64 = 30_000;

impl State {
    fn view_len(&self) -> usize {
        self.peers.values().filter(|peer| peer.in_view()).count()
    }

    /// A peer has taken us into its view, or acts as if it had.
    pub(super) fn joined(&mut self, from: PeerId, urgent: bool, now_ms: u64) {
        let full = self.view_len() >= self.policy.view_most;
        // Seldom, or a few that always have nobody would take the whole view.
        let gives_way = urgent && now_ms >= self.gave_way_ms + GIVES_WAY_MS;
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| !peer.in_view()) else { return };
        if !peer.is_trusted(now_ms) || (full && !gives_way) {
            peer.notices.leave = true;
            return;
        }
        peer.role = Role::Eager;
        if full {
            self.gave_way_ms = now_ms;
            // A lazy link costs the tree nothing.
            let of = |role| self.peers.iter().filter(move |(id, peer)| peer.role == role && **id != from);
            let role = if of(Role::Lazy).next().is_some() { Role::Lazy } else { Role::Eager };
            let others: Vec<_> = of(role).map(|(id, _)| *id).collect();
            if let Some(id) = others.get((now_ms % others.len().max(1) as u64) as usize) {
                self.part(*id, now_ms);
            }
        }
    }

    fn part(&mut self, id: PeerId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.role = Role::Aside;
            peer.notices.leave = true;
            peer.pruned_at_ms = now_ms;
            peer.refused_until_ms = now_ms + REFUSED_MS;
        }
    }

    /// A peer has no place for us.
    pub(super) fn left(&mut self, from: PeerId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.role = Role::Aside;
            peer.pruned_at_ms = now_ms;
            peer.refused_until_ms = now_ms + REFUSED_MS;
        }
    }

    /// A peer asked for an item that it had only heard of: the tree goes over this link from now on.
    pub(super) fn grafted(&mut self, from: PeerId, now_ms: u64) {
        match self.peers.get_mut(&from) {
            Some(peer) if peer.in_view() => peer.role = Role::Eager,
            _ => self.joined(from, false, now_ms),
        }
    }

    /// Fills the view, and now and then exchanges one of it.
    pub(super) fn keep_view(&mut self, now_ms: u64, port: &mut impl Port) {
        let mut here = self.view_len();
        while here < self.policy.view {
            let Some(id) = self.candidate(here == 0, now_ms, port) else { break };
            self.join(id, here == 0, now_ms);
            here += 1;
        }
        if now_ms < self.shuffle_at_ms {
            return;
        }
        let every = self.policy.shuffle_every_ms;
        self.shuffle_at_ms = now_ms + every / 2 + port.random() % (every + 1);
        let lazy: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.role == Role::Lazy).map(|(id, _)| *id).collect();
        let Some(out) = pick(&lazy, port) else { return };
        if let Some(id) = self.candidate(false, now_ms, port) {
            self.part(out, now_ms);
            self.join(id, false, now_ms);
        }
    }

    fn join(&mut self, id: PeerId, urgent: bool, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.role = Role::Eager;
            peer.notices.join = Some(urgent);
            peer.notices.leave = false;
            // What was said while neither had the other in its view is announced to neither.
            peer.reconcile_soon(&self.policy, now_ms);
        }
    }

    /// A peer that may be taken into the view; one that refused only where there is no other.
    fn candidate(&self, anyone: bool, now_ms: u64, port: &mut impl Port) -> Option<PeerId> {
        let aside = |peer: &Peer| !peer.in_view() && peer.is_trusted(now_ms);
        let of = |wanted: &dyn Fn(&Peer) -> bool| {
            self.peers.iter().filter(|(_, peer)| wanted(peer)).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let willing = of(&|peer| aside(peer) && now_ms >= peer.refused_until_ms);
        let candidates = if willing.is_empty() && anyone { of(&aside) } else { willing };
        pick(&candidates, port)
    }
}

/// One of these.
pub(super) fn pick(of: &[PeerId], port: &mut impl Port) -> Option<PeerId> {
    if of.is_empty() {
        return None;
    }
    of.get((port.random() % of.len() as u64) as usize).copied()
}
