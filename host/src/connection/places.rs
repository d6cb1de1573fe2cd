//! The limits: whether there is a place for a newcomer, and who loses one to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::{Connection, Stage, State};
use crate::connection::limits::MAX_PENDING_OF_PEER;
use crate::connection::{ConnectionId, Eviction};
use crate::peer::PeerId;
use crate::reached::{Reached, Scope, names};
use crate::transport::{Direction, Source};
use crate::wire::CloseCode;

const RAISE: &str = "raise";
const LATER: &str = "dial again later, or raise";

/// How full each limit is that holds for many: of the one that has most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::connection) struct Usage {
    pub(in crate::connection) peers: usize,
    pub(in crate::connection) inbound_ordinary: usize,
    pub(in crate::connection) pending: usize,
    pub(in crate::connection) most_of_one_peer: usize,
    pub(in crate::connection) most_of_one_source: usize,
}

impl State {
    pub(in crate::connection) fn usage(&self) -> Usage {
        let mut sources: BTreeMap<Source, usize> = BTreeMap::new();
        for connection in self.connections.values().filter(|c| c.counts_for_source()) {
            *sources.entry(Source::of(connection.remote)).or_default() += 1;
        }
        Usage {
            peers: self.places_taken(),
            inbound_ordinary: self.inbound_ordinary().count(),
            pending: self.pending(),
            most_of_one_peer: self.by_peer.keys().map(|peer| self.held(peer)).max().unwrap_or(0),
            most_of_one_source: sources.into_values().max().unwrap_or(0),
        }
    }

    /// Peers that hold a place.
    pub(in crate::connection) fn places_taken(&self) -> usize {
        self.holders().count()
    }

    fn holders(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.by_peer.keys().copied().filter(|peer| self.held(peer) > 0)
    }

    /// Ordinary peers that hold a place and all of whose connections they dialed.
    fn inbound_ordinary(&self) -> impl Iterator<Item = PeerId> + '_ {
        let dialed = |peer: &PeerId| self.holding(peer).any(|c| c.direction == Direction::Outbound);
        self.holders().filter(move |peer| !self.necessary.contains(peer) && !dialed(peer))
    }

    fn holding(&self, peer: &PeerId) -> impl Iterator<Item = &Connection> + '_ {
        let ids = self.by_peer.get(peer).into_iter().flatten();
        ids.filter_map(|id| self.connections.get(id)).filter(|c| c.holds_place())
    }

    /// Connections with which a peer holds its place.
    pub(super) fn held(&self, peer: &PeerId) -> usize {
        self.holding(peer).count()
    }

    /// Inbound connections that are not decided yet.
    pub(in crate::connection) fn pending(&self) -> usize {
        self.connections.values().filter(|c| c.is_undecided()).count()
    }

    /// Why another inbound connection of `peer` may not even wait for a decision, if so.
    pub(super) fn crowded(&self, peer: &PeerId, remote: SocketAddr) -> Option<Reached> {
        let own = self.of(peer).filter(|id| self.connections[id].is_undecided()).count();
        let what = names::UNDECIDED;
        let of_peer = Reached::new(Scope::Peer, what, own, MAX_PENDING_OF_PEER);
        let of_node = Reached::new(Scope::Node, what, self.pending(), self.limits.max_pending)
            .key("limits.max_pending_handshakes", LATER);
        let first = [of_peer, of_node].into_iter().find(|limit| limit.taken >= limit.limit);
        first.or_else(|| self.full_source(peer, remote))
    }

    /// The peer's own connections do not count: its ghost must never keep it out, and it is bounded by itself.
    fn full_source(&self, peer: &PeerId, remote: SocketAddr) -> Option<Reached> {
        let source = Source::of(remote);
        if self.necessary.contains(peer) || source.is_loopback() && !self.limits.limit_loopback {
            return None;
        }
        let counts = |c: &&Connection| c.peer != *peer && c.counts_for_source() && Source::of(c.remote) == source;
        let (taken, limit) = (self.connections.values().filter(counts).count(), self.limits.max_per_source);
        let full = Reached::new(Scope::Source, names::DIALED, taken, limit);
        let full = full.key("limits.max_connections_per_source", RAISE);
        (taken >= limit).then(|| Reached { of: Some(source.to_string()), ..full })
    }

    /// Why the peer may have no further connection, if so.
    pub(super) fn full_peer(&self, peer: &PeerId) -> Option<Reached> {
        let (taken, limit) = (self.held(peer), self.limits.connections_per_peer);
        let full =
            Reached::new(Scope::Peer, names::CONNECTIONS, taken, limit).key("limits.connections_per_peer", RAISE);
        (taken >= limit).then_some(full)
    }

    /// Takes a place for a peer that has none, from another peer if it must.
    pub(super) fn take_place(&mut self, peer: PeerId, direction: Direction, now: Duration) -> Result<(), Reached> {
        let ordinary = !self.necessary.contains(&peer);
        if ordinary && direction == Direction::Inbound {
            let quota = self.limits.max_peers.saturating_sub(self.limits.reserved_outbound);
            let inbound: BTreeSet<PeerId> = self.inbound_ordinary().collect();
            if inbound.len() >= quota && !self.make_room(peer, &inbound, now) {
                return Err(self.no_place_for_inbound(inbound.len(), quota));
            }
        }
        let holders: BTreeSet<PeerId> = self.holders().collect();
        if holders.len() >= self.limits.max_peers && !self.make_room(peer, &holders, now) {
            return Err(self.no_place(&holders));
        }
        self.last_place += 1;
        let place = self.last_place;
        self.seniority.entry(peer).or_insert(place);
        Ok(())
    }

    /// Cuts drains short, the oldest first, when a newcomer would make the connections that hold memory too many: or a
    /// stream of peers that come and drain at once would make them any number.
    pub(super) fn cut_drains(&mut self) {
        let held = self.connections.values().filter(|c| c.holds_place()).count();
        let mut draining: Vec<(Option<Duration>, ConnectionId)> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.stage, Stage::Draining(_)))
            .map(|(id, c)| (c.deadline, *id))
            .collect();
        let surplus = (held + draining.len()).saturating_sub(self.limits.most_connections());
        draining.sort();
        for (_, id) in draining.into_iter().take(surplus) {
            tracing::debug!(connection = id.0, "drain cut short: too many connections drain at once");
            self.overdue(id);
        }
    }

    fn no_place(&self, holders: &BTreeSet<PeerId>) -> Reached {
        let all_necessary = holders.iter().all(|peer| self.necessary.contains(peer));
        let advice = if all_necessary && !holders.is_empty() { "all are necessary; raise" } else { RAISE };
        Reached::new(Scope::Node, names::PEERS, holders.len(), self.limits.max_peers).key("limits.max_peers", advice)
    }

    fn no_place_for_inbound(&self, taken: usize, limit: usize) -> Reached {
        if self.limits.reserved_outbound == 0 {
            return self.no_place(&self.holders().collect());
        }
        let advice = "the other places are for peers it dials; raise `limits.max_peers` or lower";
        Reached::new(Scope::Node, names::INBOUND, taken, limit).key("limits.reserved_outbound", advice)
    }

    /// Frees a place among these peers for a newcomer, if the strategy has somebody to go.
    fn make_room(&mut self, newcomer: PeerId, among: &BTreeSet<PeerId>, now: Duration) -> bool {
        let Some(evicted) = self.victim(newcomer, among) else { return false };
        self.counts.evicted += 1;
        let strategy = self.limits.eviction;
        tracing::info!(
            peer = %evicted.short(), newcomer = %newcomer.short(), %strategy, scope = "node", limit = names::PEERS,
            value = self.limits.max_peers, taken = among.len(), reserved_outbound = self.limits.reserved_outbound,
            "evicted"
        );
        self.close_peer(evicted, CloseCode::Evicted, now);
        true
    }

    fn victim(&mut self, newcomer: PeerId, among: &BTreeSet<PeerId>) -> Option<PeerId> {
        let strategy = self.limits.eviction;
        let necessary = self.necessary.contains(&newcomer);
        if strategy == Eviction::Lifo && !necessary {
            return None;
        }
        let (mut last_resort, mut first): (Vec<PeerId>, Vec<PeerId>) =
            among.iter().partition(|peer| self.necessary.contains(peer));
        if first.is_empty() && necessary && strategy != Eviction::Lifo {
            first.append(&mut last_resort);
        }
        first.sort_by_key(|peer| self.seniority.get(peer).copied().unwrap_or(0));
        match strategy {
            Eviction::Lifo => first.last().copied(),
            Eviction::Fifo => first.first().copied(),
            Eviction::Random if first.is_empty() => None,
            Eviction::Random => first.get(self.random.random_range(0..first.len())).copied(),
        }
    }
}

impl Connection {
    fn counts_for_source(&self) -> bool {
        self.direction == Direction::Inbound && !matches!(self.stage, Stage::Closing(_))
    }
}
