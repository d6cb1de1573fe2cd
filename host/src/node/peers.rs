//! Peers that the operator adds and removes while the node runs.

use serde::Serialize;

use super::book::SharedBook;
use super::{Node, OperateError};
use crate::config::ConfiguredPeer;
use crate::folder::{KnownPeer, PeerBook};
use crate::host::Host;
use crate::peer::PeerId;

/// The book of added peers beside the host that knows them.
pub(super) struct KnownPeers {
    host: Host,
    configured: Vec<ConfiguredPeer>,
    book: SharedBook<PeerBook>,
    /// One change at a time, so that book and host agree on the order.
    turn: tokio::sync::Mutex<()>,
}

/// What removing a peer did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RemovedPeer {
    /// Whom.
    pub peer_id: PeerId,
    /// It stands in `weir.toml` and will be known again after a restart.
    pub configured: bool,
}

impl KnownPeers {
    pub(super) fn new(host: Host, book: PeerBook, configured: &[ConfiguredPeer]) -> Self {
        let turn = tokio::sync::Mutex::new(());
        Self { host, configured: configured.to_vec(), book: SharedBook::new(book), turn }
    }

    /// Tells the host whom to know. Those of the configuration it knows from its start.
    pub(super) async fn announce(&self) {
        let own = self.host.peer_id();
        let peers: Vec<KnownPeer> = {
            let book = self.book.read();
            book.peers().filter(|peer| peer.address.peer != own).collect()
        };
        for peer in peers {
            if let Err(error) = self.host.add_peer(peer.address, peer.necessary).await {
                tracing::warn!(peer = %peer.address, %error, "a peer of the book is not known");
            }
        }
    }
}

impl Node {
    /// Makes a peer known, now and after a restart.
    ///
    /// # Errors
    /// When it is the node itself, or cannot be kept.
    pub async fn add_peer(&self, peer: KnownPeer) -> Result<(), OperateError> {
        let known = &self.known;
        if peer.address.peer == known.host.peer_id() {
            return Err(OperateError::OwnId);
        }
        let _turn = known.turn.lock().await;
        known.book.write(move |book| book.add(peer)).await?;
        known.host.add_peer(peer.address, peer.necessary).await?;
        Ok(())
    }

    /// Forgets a peer and closes its connection.
    ///
    /// # Errors
    /// When nobody knows it, or the change cannot be kept.
    pub async fn remove_peer(&self, peer: PeerId) -> Result<RemovedPeer, OperateError> {
        let known = &self.known;
        let _turn = known.turn.lock().await;
        let written = known.book.write(move |book| book.remove(&peer)).await?;
        let removed = known.host.remove_peer(peer).await;
        if !written && !removed {
            return Err(OperateError::UnknownPeer(peer));
        }
        let configured = known.configured.iter().any(|entry| entry.address.peer == peer);
        Ok(RemovedPeer { peer_id: peer, configured })
    }
}
