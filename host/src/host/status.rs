//! A node as people see it.

use std::net::SocketAddr;

use serde::Serialize;

use crate::peer::PeerId;
use crate::protocol::ProtocolId;
use crate::supervisor::{KnownAddress, Origin};

/// A known peer, as `weir peers` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Who.
    pub peer_id: PeerId,
    /// Whether it has an admitted connection.
    pub connected: bool,
    /// Whether the node keeps it connected.
    pub necessary: bool,
    /// How many admitted connections it has.
    pub connections: usize,
    /// What it supports, while it is connected.
    pub protocols: Vec<ProtocolId>,
    /// Where it may be reached, in the order in which that is tried.
    pub addresses: Vec<SocketAddr>,
    /// The same with who says so, and where it was reached last.
    pub known_addresses: Vec<KnownAddress>,
    /// Why it is not connected.
    pub last_error: Option<String>,
}

/// A registered protocol, as `weir protocols` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProtocolStatus {
    /// The protocol id.
    pub id: ProtocolId,
    /// What stands before name and version in the id; protocols of different networks have nothing to do with each
    /// other.
    pub network: String,
    /// Who serves it: the plugin's name, or what a native handler calls itself.
    pub handler: String,
    /// Connected peers that support it, too.
    pub peers: usize,
}

/// The node at a glance, as `weir status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Who it is.
    pub peer_id: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Of the program.
    pub version: &'static str,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Connected peers.
    pub peers: usize,
    /// Loaded plugins.
    pub plugins: usize,
    /// Registered protocols.
    pub protocols: usize,
    /// Data streams of peers that are open.
    pub receive_streams: usize,
}

pub(super) fn stranger(peer_id: PeerId, addresses: Vec<SocketAddr>) -> PeerStatus {
    let known = |address: &SocketAddr| KnownAddress { address: *address, source: Origin::Record, worked: false };
    PeerStatus {
        peer_id,
        connected: true,
        necessary: false,
        connections: 0,
        protocols: Vec::new(),
        known_addresses: addresses.iter().map(known).collect(),
        addresses,
        last_error: None,
    }
}
