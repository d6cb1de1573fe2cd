//! All send-stream pools of the node, by peer and by connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::pool::{PoolPolicy, PoolStats, SendStreamPool};
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::level::{Level, LevelReader};
use crate::peer::PeerId;
use crate::wire::StreamOutcome;

/// Knows the pool of every admitted connection, and brings the peers' reports to them.
pub struct SendStreamPoolManager {
    policy: PoolPolicy,
    tasks: TaskTracker,
    runtime: Handle,
    pools: RwLock<Pools>,
    /// Counts additions, for lanes that wait for a connection.
    added: Level,
}

#[derive(Default)]
struct Pools {
    by_connection: HashMap<ConnectionId, SendStreamPool>,
    by_peer: BTreeMap<PeerId, Vec<ConnectionId>>,
}

impl SendStreamPoolManager {
    /// No pools yet; their tasks will run on `runtime`, tracked by `tasks`. A pool's task ends when its
    /// connection was removed.
    pub fn new(policy: PoolPolicy, tasks: TaskTracker, runtime: Handle) -> Self {
        let added = Level::default();
        Self { policy, tasks, runtime, pools: RwLock::default(), added }
    }

    /// Makes the pool of an admitted connection. `peer_max` is what the peer's hello allows.
    pub fn add(&self, connection: &ConnectionHandle, peer_max: u32) {
        let (pool, task) = SendStreamPool::new(connection.clone(), self.policy, peer_max);
        self.tasks.spawn_on(task, &self.runtime);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        pools.by_peer.entry(connection.peer).or_default().push(connection.id);
        let replaced = pools.by_connection.insert(connection.id, pool);
        drop(pools);
        if let Some(replaced) = replaced {
            replaced.close();
        }
        self.added.add_one();
    }

    /// Closes the pool of a connection that is gone. Its lanes hear about everything lost before this returns.
    pub fn remove(&self, connection: ConnectionId) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let Some(pool) = pools.by_connection.remove(&connection) else { return };
        if let Some(of_peer) = pools.by_peer.get_mut(&pool.peer()) {
            of_peer.retain(|id| *id != connection);
            if of_peer.is_empty() {
                pools.by_peer.remove(&pool.peer());
            }
        }
        drop(pools);
        pool.close();
    }

    /// The least-loaded open pool of a peer: the one with the fewest streams in use and borrowers waiting.
    pub fn best(&self, peer: &PeerId) -> Option<SendStreamPool> {
        let load = |pool: &SendStreamPool| {
            let stats = pool.stats();
            stats.lent + stats.ending + stats.waiters
        };
        self.of_peer(peer).into_iter().filter(SendStreamPool::is_open).min_by_key(load)
    }

    /// All pools of a peer, oldest first.
    pub fn of_peer(&self, peer: &PeerId) -> Vec<SendStreamPool> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let ids = pools.by_peer.get(peer).into_iter().flatten();
        ids.filter_map(|id| pools.by_connection.get(id).cloned()).collect()
    }

    /// Changes whenever a pool was added.
    pub(crate) fn additions(&self) -> LevelReader {
        self.added.subscribe()
    }

    /// For `Control::StreamProgress`.
    pub fn progress(&self, connection: ConnectionId, stream: u64, frames: u64) {
        if let Some(pool) = self.pool(connection) {
            pool.progress(stream, frames);
        }
    }

    /// For `Control::StreamEnded`.
    pub fn ended(&self, connection: ConnectionId, stream: u64, frames: u64, outcome: StreamOutcome) {
        if let Some(pool) = self.pool(connection) {
            pool.ended(stream, frames, outcome);
        }
    }

    /// Finishes every stream of a connection and lends none any more; ready when the peer has reported the end of
    /// all. What lanes still have queued goes to the peer's other connections, or waits: flush the lanes first.
    pub async fn drain(&self, connection: ConnectionId) {
        if let Some(pool) = self.pool(connection) {
            pool.drain().await;
        }
    }

    /// Slots of every pool, for status output.
    pub fn stats(&self) -> Vec<(PeerId, ConnectionId, PoolStats)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let mut stats: Vec<_> = pools.by_connection.iter().map(|(id, pool)| (pool.peer(), *id, pool.stats())).collect();
        stats.sort_unstable_by_key(|(peer, connection, _)| (*peer, *connection));
        stats
    }

    fn pool(&self, connection: ConnectionId) -> Option<SendStreamPool> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).by_connection.get(&connection).cloned()
    }
}
