//! Several independent networks on one node: what comes before a protocol's name and version names its network.
//!
//! `/a/staking/1.0.0` and `/b/staking/1.0.0` are two protocols like any others: each has its own handler, its own lanes
//! and its own peers, and neither can reach the other. Protocols without a prefix, `/staking/1.0.0`, are the network
//! with the empty name. Nothing else in a node depends on this; it is a way to look at it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Network as _, ProtocolId, ProtocolManager};
use crate::peer::PeerId;

/// One network that the node takes part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkStatus {
    /// `/a`, or nothing.
    pub name: String,
    /// Protocols of it that are registered here.
    pub protocols: Vec<ProtocolId>,
    /// Connected peers that share at least one of them.
    pub peers: Vec<PeerId>,
}

impl ProtocolId {
    /// What stands before name and version: `/a` of `/a/staking/1.0.0`, nothing of `/staking/1.0.0`.
    pub fn network(&self) -> &str {
        let mut slashes = self.as_str().rmatch_indices('/').map(|(at, _)| at);
        slashes.nth(1).map_or("", |at| &self.as_str()[..at])
    }
}

impl ProtocolManager {
    /// The networks that this node takes part in, by name.
    pub fn networks(&self) -> Vec<NetworkStatus> {
        let mut networks: BTreeMap<String, (Vec<ProtocolId>, BTreeSet<PeerId>)> = BTreeMap::new();
        for registered in self.registered() {
            let (protocols, peers) = networks.entry(registered.id.network().to_owned()).or_default();
            peers.extend(self.reachable(&registered.id).into_iter().map(|reachable| reachable.peer));
            protocols.push(registered.id);
        }
        let status = |(name, (protocols, peers)): (String, (Vec<_>, BTreeSet<_>))| NetworkStatus {
            name,
            protocols,
            peers: peers.into_iter().collect(),
        };
        networks.into_iter().map(status).collect()
    }

    /// Connected peers that share at least one protocol of a network with this node.
    pub fn peers_of_network(&self, name: &str) -> Vec<PeerId> {
        self.networks().into_iter().find(|network| network.name == name).map(|found| found.peers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_what_stands_before_name_and_version() {
        for (id, network) in [("/staking/1.0.0", ""), ("/a/staking/1", "/a"), ("/a/b/staking/1", "/a/b")] {
            assert_eq!(id.parse::<ProtocolId>().expect("an id").network(), network);
        }
    }
}
