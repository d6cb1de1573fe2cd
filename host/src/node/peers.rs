//! Peers that the operator adds and removes while the node runs.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::{Node, OperateError};
use crate::config::ConfiguredPeer;
use crate::folder::{FolderError, KnownPeer, PeerBook};
use crate::host::Host;
use crate::peer::PeerId;

/// The book of added peers beside the host that knows them.
pub(super) struct KnownPeers {
    host: Host,
    configured: Vec<ConfiguredPeer>,
    book: Arc<Mutex<PeerBook>>,
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
        Self { host, configured: configured.to_vec(), book: Arc::new(Mutex::new(book)), turn }
    }

    /// Tells the host whom to know. Those of the configuration it knows from its start.
    pub(super) async fn announce(&self) {
        let own = self.host.peer_id();
        let peers: Vec<KnownPeer> = {
            let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.peers().filter(|peer| peer.address.peer != own).collect()
        };
        for peer in peers {
            if let Err(error) = self.host.add_peer(peer.address, peer.necessary).await {
                tracing::warn!(peer = %peer.address, %error, "a peer of the book is not known");
            }
        }
    }

    /// Changes the book on a thread that may wait for the disk.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut PeerBook) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, FolderError> {
        let book = Arc::clone(&self.book);
        let path = book.lock().unwrap_or_else(PoisonError::into_inner).path().to_owned();
        let written =
            tokio::task::spawn_blocking(move || change(&mut book.lock().unwrap_or_else(PoisonError::into_inner)));
        written.await.unwrap_or_else(|error| Err(FolderError::io("write", &path)(std::io::Error::other(error))))
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
        known.write(move |book| book.add(peer)).await?;
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
        let written = known.write(move |book| book.remove(&peer)).await?;
        let removed = known.host.remove_peer(peer).await;
        if !written && !removed {
            return Err(OperateError::UnknownPeer(peer));
        }
        let configured = known.configured.iter().any(|entry| entry.address.peer == peer);
        Ok(RemovedPeer { peer_id: peer, configured })
    }
}
