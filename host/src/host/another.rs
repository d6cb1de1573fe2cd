//! Dials a busy peer once more when the streams ask for it, and closes what they need no more.

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::connection::{ConnectionId, ConnectionManager};
use crate::peer::PeerId;
use crate::stream::WantsConnection;

/// Brings the wish of the streams to the connections, two layers below what knows both.
pub(super) struct Another {
    pub(super) connections: ConnectionManager,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
    /// Connections that a peer may have.
    pub(super) limit: usize,
}

impl WantsConnection for Another {
    fn another(&self, peer: PeerId) {
        if self.limit < 2 || self.tasks.is_closed() {
            return;
        }
        let connections = self.connections.clone();
        let dial = async move {
            // Ends by itself in bounded time. Nothing depends on it: lanes go on with the connections there are.
            match connections.dial_another(peer).await {
                Ok(connection) => {
                    tracing::info!(peer = %peer.short(), connection = connection.0, "one more connection")
                }
                Err(failure) => tracing::debug!(peer = %peer.short(), %failure, "no further connection"),
            }
        };
        self.tasks.spawn_on(dial, &self.runtime);
    }

    fn no_longer(&self, peer: PeerId, connection: ConnectionId) {
        if self.tasks.is_closed() {
            return;
        }
        let connections = self.connections.clone();
        let close = async move {
            tracing::info!(peer = %peer.short(), connection = connection.0, "one connection less");
            connections.give_up(connection).await;
        };
        self.tasks.spawn_on(close, &self.runtime);
    }
}
