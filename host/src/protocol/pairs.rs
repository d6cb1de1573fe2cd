//! The open pairs of peer and protocol, with the lane of each, for the many readers of the hot path.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::ProtocolId;
use super::registry::Registration;
use crate::level::Level;
use crate::peer::PeerId;
use crate::stream::Lane;

/// Traffic of one protocol with one peer, from `Open` to `Shut`.
pub(super) struct Pair {
    /// Ours.
    pub registration: Arc<Registration>,
    /// The peer's number: streams it opened at an older set sequence belong to a predecessor.
    pub remote_registration: u64,
    /// The smaller of both sides' limits, in bytes.
    pub max_message: u32,
    /// To the peer.
    pub lane: Lane,
    /// Cancelled when the pair is shut.
    pub closed: CancellationToken,
}

/// A connected peer of one incarnation.
pub(super) struct PeerPairs {
    /// Of the peer.
    pub incarnation: u64,
    /// The sequence of its set that was applied; streams wait for it.
    pub applied: Level,
    /// Its last connection is being closed on purpose: nothing new is sent.
    pub draining: AtomicBool,
    open: DashMap<ProtocolId, Arc<Pair>>,
}

/// All of them. Changed only under the lock of the protocol state.
#[derive(Default)]
pub(super) struct Pairs(DashMap<PeerId, Arc<PeerPairs>>);

impl Pairs {
    /// Makes the peer known, of this incarnation, with nothing open, unless it is.
    pub(super) fn admit(&self, peer: PeerId, incarnation: u64) -> Arc<PeerPairs> {
        let fresh = || {
            Arc::new(PeerPairs {
                incarnation,
                applied: Level::default(),
                draining: AtomicBool::new(false),
                open: DashMap::new(),
            })
        };
        let mut entry = self.0.entry(peer).or_insert_with(fresh);
        if entry.incarnation != incarnation {
            *entry = fresh();
        }
        entry.clone()
    }

    /// Forgets the peer; streams that wait for its set end.
    pub(super) fn forget(&self, peer: &PeerId) {
        self.0.remove(peer);
    }

    pub(super) fn peer(&self, peer: &PeerId) -> Option<Arc<PeerPairs>> {
        Some(self.0.get(peer)?.clone())
    }

    /// All lanes to a peer, oldest first.
    pub(super) fn lanes_of(&self, peer: &PeerId) -> Vec<Lane> {
        let Some(of_peer) = self.peer(peer) else { return Vec::new() };
        let mut lanes: Vec<_> = of_peer.open.iter().map(|pair| pair.lane.clone()).collect();
        lanes.sort_by_key(Lane::id);
        lanes
    }

    /// Everybody a protocol is open with, ordered by id.
    pub(super) fn of_protocol(&self, protocol: &ProtocolId) -> Vec<(PeerId, Arc<Pair>)> {
        let pair = |peer: &PeerPairs| peer.get(protocol);
        let mut all: Vec<_> = self.0.iter().filter_map(|entry| Some((*entry.key(), pair(entry.value())?))).collect();
        all.sort_by_key(|(peer, _)| *peer);
        all
    }
}

impl PeerPairs {
    pub(super) fn insert(&self, protocol: ProtocolId, pair: Pair) -> Arc<Pair> {
        let pair = Arc::new(pair);
        self.open.insert(protocol, pair.clone());
        pair
    }

    pub(super) fn remove(&self, protocol: &ProtocolId) -> Option<Arc<Pair>> {
        self.open.remove(protocol).map(|(_, pair)| pair)
    }

    pub(super) fn get(&self, protocol: &ProtocolId) -> Option<Arc<Pair>> {
        Some(self.open.get(protocol)?.clone())
    }
}
