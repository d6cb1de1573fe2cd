// STUB
//! (stands in for the wiring)
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::config;
use crate::identity::NodeKey;
use crate::peer::{PeerAddr, PeerId};
use crate::plugin::Plugins;
use crate::runtime::Runtime;

/// What a host is started with.
pub struct HostConfig {
    /// Key.
    pub key: NodeKey,
    /// Address.
    pub listen: SocketAddr,
    /// Folder.
    pub data_dir: PathBuf,
    /// Limits.
    pub limits: config::Limits,
    /// Timeouts.
    pub timeouts: config::Timeouts,
    /// Kept connected.
    pub necessary: Vec<PeerAddr>,
    /// Plugins' budgets.
    pub plugins: config::PluginLimits,
    /// Clock and randomness.
    pub runtime: Runtime,
}

/// A host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    peer: PeerId,
    address: SocketAddr,
    peers: Mutex<BTreeMap<PeerId, (PeerAddr, bool)>>,
    plugins: Plugins,
}

/// A peer.
#[derive(Serialize)]
pub struct PeerStatus {
    /// Who.
    pub peer_id: PeerId,
    /// Now.
    pub connected: bool,
    /// Kept.
    pub necessary: bool,
    /// Count.
    pub connections: usize,
    /// Ids.
    pub protocols: Vec<String>,
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// Why not.
    pub last_error: Option<String>,
}

/// A protocol.
#[derive(Serialize)]
pub struct ProtocolStatus {
    /// Id.
    pub id: String,
    /// Whose.
    pub handler: String,
    /// Count.
    pub peers: usize,
}

/// The node.
#[derive(Serialize)]
pub struct NodeStatus {
    /// Who.
    pub peer_id: PeerId,
    /// Where.
    pub address: SocketAddr,
    /// Of the program.
    pub version: &'static str,
}

impl Host {
    /// Starts.
    pub async fn start(config: HostConfig) -> anyhow::Result<Host> {
        let socket = std::net::UdpSocket::bind(config.listen)?;
        let peers = config.necessary.iter().map(|a| (a.peer, (*a, true))).collect();
        Ok(Host(Arc::new(Inner {
            peer: config.key.peer_id(),
            address: socket.local_addr()?,
            peers: Mutex::new(peers),
            plugins: Plugins::default(),
        })))
    }

    /// Who.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer
    }

    /// Where.
    pub fn local_address(&self) -> SocketAddr {
        self.0.address
    }

    /// Peers.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let all = self.0.peers.lock().expect("stub");
        all.values()
            .map(|(address, necessary)| PeerStatus {
                peer_id: address.peer,
                connected: false,
                necessary: *necessary,
                connections: 0,
                protocols: vec![],
                addresses: vec![address.address],
                last_error: None,
            })
            .collect()
    }

    /// Adds.
    pub fn add_peer(&self, peer: PeerAddr, necessary: bool) {
        self.0.peers.lock().expect("stub").insert(peer.peer, (peer, necessary));
    }

    /// Removes.
    pub async fn remove_peer(&self, peer: PeerId) -> bool {
        self.0.peers.lock().expect("stub").remove(&peer).is_some()
    }

    /// Protocols.
    pub fn protocols(&self) -> Vec<ProtocolStatus> {
        let of = |p: crate::plugin::PluginInfo| (p.protocols, format!("plugin {}", p.name));
        let all = self.0.plugins.list().into_iter().map(of);
        all.flat_map(|(ids, handler)| ids.into_iter().map(move |id| (id, handler.clone())))
            .map(|(id, handler)| ProtocolStatus { id, handler, peers: 0 })
            .collect()
    }

    /// Status.
    pub fn status(&self) -> NodeStatus {
        NodeStatus { peer_id: self.0.peer, address: self.0.address, version: env!("CARGO_PKG_VERSION") }
    }

    /// Plugins.
    pub fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// Ends.
    pub async fn shutdown(&self) {}
}
