//! What the manager shows of its connections.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Actor;
use crate::connection::state::Stage;
use crate::connection::{ConnectionStatus, ManagerStatus, PeerStatus};
use crate::peer::PeerId;

impl Actor {
    pub(super) fn peers(&self) -> BTreeMap<PeerId, PeerStatus> {
        let mut peers = BTreeMap::new();
        for (id, connection) in self.state.connections.iter().filter(|(_, c)| c.told) {
            let peer = connection.peer;
            let level = self.state.level(&peer);
            let status = peers.entry(peer).or_insert_with(|| PeerStatus { peer, level, connections: Vec::new() });
            status.connections.push(ConnectionStatus {
                id: *id,
                direction: connection.direction,
                remote: self.live.get(id).and_then(|live| live.handle.link.remote_address().ok()),
                incarnation: connection.incarnation.unwrap_or_default(),
                age: connection.up_since.map_or(Duration::ZERO, |since| self.now().saturating_sub(since)),
                draining: matches!(connection.stage, Stage::Draining(_)),
            });
        }
        peers
    }

    pub(super) fn status(&self) -> ManagerStatus {
        let usage = self.state.usage();
        ManagerStatus {
            peers: usage.peers,
            inbound_ordinary: usage.inbound_ordinary,
            pending: usage.pending,
            most_of_one_peer: usage.most_of_one_peer,
            most_of_one_source: usage.most_of_one_source,
            dials: self.state.dials(),
            limits: self.state.limits.clone(),
            counts: self.state.counts,
        }
    }
}
