//! All send-stream pools of the node, by peer and by connection.

mod spare;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use std::time::Duration;

use spare::{Spares, Standing};
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

/// How often it is looked whether a connection is needed no more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    spares: Mutex<(Spares, Option<Instant>)>,
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
        Self {
            policy,
            tasks,
            runtime,
            pools: RwLock::default(),
            added: Level::default(),
            wants: Mutex::new(Wants::new(LoadPolicy::default())),
            spares: Mutex::default(),
            dialer: OnceLock::new(),
            lanes_moved: AtomicU64::new(0),
            connections_wanted: AtomicU64::new(0),
            connections_spared: AtomicU64::new(0),
        }
    }

    /// The same, with a policy of its own for further connections.
    pub fn with_load(mut self, load: LoadPolicy) -> Self {
        self.wants = Mutex::new(Wants::new(load));
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
        if !last {
            self.resume_if_alone(&pool.peer());
        }
        if last {
            self.want(pool.peer(), Event::Gone);
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

    /// Looks which connections are needed no more. Those lend nothing from then on: their lanes go on on others, in
    /// order, with all that was under way handed over before. When nothing is left on one, from this side or, as
    /// `is_busy` says, from the peer's, it is given to whoever closes it. To be called now and then; looks once a
    /// second, and never waits.
    pub fn look_for_spare(&self, is_busy: impl Fn(ConnectionId) -> bool) {
        let now = Instant::now();
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let (spares, looked) = &mut *spares;
        if looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return;
        }
        *looked = Some(now);
        self.retire(spares, now);
        let over: Vec<_> = {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            let Pools { by_connection, retired, .. } = &mut *pools;
            let waiting = retired.iter_mut().filter(|(_, told)| !**told);
            let ready = waiting.filter_map(|(id, told)| Some((by_connection.get(id)?, told)));
            let over = ready.filter(|(pool, _)| pool.is_drained() && !is_busy(pool.connection()));
            over.map(|(pool, told)| {
                *told = true;
                (pool.peer(), pool.connection())
            })
            .collect()
        };
        for (peer, connection) in over {
            self.connections_spared.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, connection = connection.0, "a further connection is needed no more");
            if let Some(dialer) = self.dialer.get() {
                dialer.no_longer(peer, connection);
            }
        }
    }

    fn retire(&self, spares: &mut Spares, now: Instant) {
        let after = self.wants.lock().unwrap_or_else(PoisonError::into_inner).spare_after();
        let several: BTreeSet<PeerId> = {
            let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
            pools.by_peer.iter().filter(|(_, of_peer)| of_peer.len() > 1).map(|(peer, _)| *peer).collect()
        };
        spares.retain(|peer| several.contains(peer));
        for peer in several {
            let (open, loads) = self.open_pools(&peer);
            let standing = |(pool, load): (&SendStreamPool, &Load)| Standing { load: *load, dialed: pool.is_dialed() };
            let standing: Vec<_> = open.iter().zip(&loads).map(standing).collect();
            let Some(spare) = spares.look(peer, &standing, after, now) else { continue };
            if let Some(pool) = pick(open, spare) {
                self.pools.write().unwrap_or_else(PoisonError::into_inner).retired.insert(spare, false);
                pool.retire();
            }
        }
    }

    /// Lets a connection that was retired lend again; whether there is one. With `even_told`, also one that is to be
    /// closed.
    fn resume(&self, peer: &PeerId, even_told: bool) -> bool {
        let resumed = {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            let Pools { by_connection, by_peer, retired, .. } = &mut *pools;
            let of_peer = by_peer.get(peer).into_iter().flatten();
            let mut fit = of_peer.filter(|id| retired.get(id).is_some_and(|told| even_told || !told)).copied();
            let resumed = fit.next();
            resumed.and_then(|id| {
                retired.remove(&id);
                by_connection.get(&id).cloned()
            })
        };
        let Some(pool) = resumed else { return false };
        tracing::debug!(%peer, connection = pool.connection().0, "a further connection is needed again");
        pool.resume();
        self.added.add_one();
        true
    }

    /// Of a peer whose other connections went, the retired one is all that is left.
    fn resume_if_alone(&self, peer: &PeerId) {
        if !self.of_peer(peer).iter().any(SendStreamPool::is_open) {
            self.resume(peer, true);
        }
    }

    /// Finishes every stream of a connection and lends none any more; ready when the peer has reported the end of
    /// all. What lanes still have queued goes to the peer's other connections, or waits: flush the lanes first.
    pub async fn drain(&self, connection: ConnectionId) {
        if let Some(pool) = self.pool(connection) {
            // Whoever closes it on purpose does not want it back.
            self.pools.write().unwrap_or_else(PoisonError::into_inner).retired.remove(&connection);
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
