//! All send-stream pools of the node, by peer and by connection.

mod retiring;
mod spare;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use spare::Spares;
use state::{Event, Load, Wants, choose};
pub use state::{Home, LoadPolicy};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::LaneId;
use super::pool::{PoolCounters, PoolPolicy, PoolStats, SendStreamPool};
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::level::{Level, LevelReader};
use crate::peer::PeerId;
use crate::wire::StreamOutcome;

/// Is asked for another connection to a peer whose connections are busy.
pub trait WantsConnection: Send + Sync + 'static {
    /// More streams to the peer are wanted than its connections carry well. Called from within a lane's task: it must
    /// not wait. Whoever is asked may do nothing, because a limit is reached or no address is known; a connection
    /// that comes of it is told to [`SendStreamPoolManager::add`] like any other.
    fn another(&self, peer: PeerId);

    /// Nothing is under way on this connection any more, and the peer's other ones are enough. The same holds; when it
    /// is closed, that is told to [`SendStreamPoolManager::remove`].
    fn no_longer(&self, peer: PeerId, connection: ConnectionId);
}

/// What all pools have done, those of connections that are gone included; only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolTotals {
    /// Of all pools.
    pub pools: PoolCounters,
    /// Times that a lane went on on another connection of its peer.
    pub lanes_moved: u64,
    /// Times that another connection was asked for.
    pub connections_wanted: u64,
    /// Connections that were given up because the others are enough.
    pub connections_spared: u64,
}

/// Knows the pool of every admitted connection, chooses among them, and brings the peers' reports to them.
pub struct SendStreamPoolManager {
    policy: PoolPolicy,
    tasks: TaskTracker,
    runtime: Handle,
    pools: RwLock<Pools>,
    /// Counts additions, for lanes that wait for a connection.
    added: Level,
    wants: Mutex<Wants>,
    spares: Mutex<Spares>,
    /// Who is asked for another connection.
    dialer: OnceLock<Arc<dyn WantsConnection>>,
    lanes_moved: AtomicU64,
    connections_wanted: AtomicU64,
    connections_spared: AtomicU64,
}

#[derive(Default)]
struct Pools {
    by_connection: HashMap<ConnectionId, SendStreamPool>,
    by_peer: BTreeMap<PeerId, Vec<ConnectionId>>,
    /// Those that lend nothing because the peer's others are enough, and whether they are to be closed already.
    retired: BTreeMap<ConnectionId, bool>,
    /// Of pools that are gone.
    past: PoolCounters,
}

impl SendStreamPoolManager {
    /// No pools yet; their tasks will run on `runtime`, tracked by `tasks`. A pool's task ends when its
    /// connection was removed.
    pub fn new(policy: PoolPolicy, tasks: TaskTracker, runtime: Handle) -> Self {
        let load = LoadPolicy::default();
        Self {
            policy,
            tasks,
            runtime,
            pools: RwLock::default(),
            added: Level::default(),
            wants: Mutex::new(Wants::new(load)),
            spares: Mutex::new(Spares::new(load.spare_after)),
            dialer: OnceLock::new(),
            lanes_moved: AtomicU64::new(0),
            connections_wanted: AtomicU64::new(0),
            connections_spared: AtomicU64::new(0),
        }
    }

    /// The same, with a policy of its own for further connections.
    pub fn with_load(mut self, load: LoadPolicy) -> Self {
        (self.wants, self.spares) = (Mutex::new(Wants::new(load)), Mutex::new(Spares::new(load.spare_after)));
        self
    }

    /// Whom to ask for another connection under load; nobody is asked before. Only the first call counts.
    pub fn ask_for_connections(&self, dialer: Arc<dyn WantsConnection>) {
        let _ = self.dialer.set(dialer);
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
        self.want(connection.peer, Event::Added);
        self.added.add_one();
    }

    /// Closes the pool of a connection that is gone. Its lanes hear about everything lost before this returns.
    pub fn remove(&self, connection: ConnectionId) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let Some(pool) = pools.by_connection.remove(&connection) else { return };
        let mut last = false;
        if let Some(of_peer) = pools.by_peer.get_mut(&pool.peer()) {
            of_peer.retain(|id| *id != connection);
            last = of_peer.is_empty();
        }
        if last {
            pools.by_peer.remove(&pool.peer());
        }
        pools.past += pool.stats().counters;
        pools.retired.remove(&connection);
        drop(pools);
        if last {
            self.want(pool.peer(), Event::Gone);
        } else {
            self.resume_if_alone(&pool.peer());
        }
        pool.close();
    }

    /// The least-loaded open pool of a peer: the one of which the smallest share is in use or waited for.
    pub fn best(&self, peer: &PeerId) -> Option<SendStreamPool> {
        let (pools, loads) = self.open_pools(peer);
        pick(pools, choose(&loads, None)?)
    }

    /// The open pool for a lane's next stream: that of its home, unless the lane is better off elsewhere; then the
    /// lane releases its parked stream before it borrows. A peer found busy long enough is asked for another
    /// connection.
    pub fn pool_for(&self, peer: &PeerId, home: Option<Home>) -> Option<SendStreamPool> {
        let (pools, loads) = self.open_pools(peer);
        let (used, max) = loads.iter().fold((0, 0), |(used, max), load| (used + load.used, max + load.max));
        if !loads.is_empty() {
            self.want(*peer, Event::Weighed { used, max });
        }
        pick(pools, choose(&loads, home)?)
    }

    /// The lane needs its parked stream on this connection no more: it is finished.
    pub fn release(&self, connection: ConnectionId, lane: LaneId) {
        if let Some(pool) = self.pool(connection) {
            pool.release(lane);
        }
    }

    /// A lane goes on on another connection.
    pub(super) fn moved(&self, peer: PeerId, lane: LaneId, from: ConnectionId, to: ConnectionId) {
        self.lanes_moved.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, lane = lane.0, from = from.0, to = to.0, "a lane moved to another connection");
    }

    fn want(&self, peer: PeerId, event: Event) {
        let wanted = self.wants.lock().unwrap_or_else(PoisonError::into_inner).handle(peer, event, Instant::now());
        let Some(dialer) = self.dialer.get().filter(|_| wanted) else { return };
        // One that was about to be given up is as good as a new one.
        if self.resume(&peer, false) {
            self.want(peer, Event::Added);
        } else {
            self.connections_wanted.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, ?event, "another connection is wanted");
            dialer.another(peer);
        }
    }

    fn open_pools(&self, peer: &PeerId) -> (Vec<SendStreamPool>, Vec<Load>) {
        let open = self.of_peer(peer).into_iter().filter(SendStreamPool::is_open);
        open.map(|pool| (pool.clone(), Load::of(pool.connection(), &pool.stats()))).unzip()
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
            // Whoever closes it on purpose does not want it back.
            let tell = {
                let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
                pools.retired.remove(&connection);
                pool.retire()
            };
            tell();
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

    /// What all pools have done since the start.
    pub fn totals(&self) -> PoolTotals {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let mut counters = pools.past;
        pools.by_connection.values().for_each(|pool| counters += pool.stats().counters);
        let [lanes_moved, connections_wanted, connections_spared] =
            [&self.lanes_moved, &self.connections_wanted, &self.connections_spared]
                .map(|count| count.load(Ordering::Relaxed));
        PoolTotals { pools: counters, lanes_moved, connections_wanted, connections_spared }
    }

    fn pool(&self, connection: ConnectionId) -> Option<SendStreamPool> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).by_connection.get(&connection).cloned()
    }
}

fn pick(pools: Vec<SendStreamPool>, connection: ConnectionId) -> Option<SendStreamPool> {
    pools.into_iter().find(|pool| pool.connection() == connection)
}
