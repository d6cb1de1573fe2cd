//! The protocol manager: what it keeps, what it is asked, and its deadlines. `local.rs` has what happens here,
//! `connections.rs` what happens at peers, `effects.rs` what follows from both, `exchange/` what peers are told.
//!
//! Lock order: `core` first, then anything else here; handlers and replies are called with locks held, which is why
//! they must not call back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asks::Asks;
use super::exchange::{ExchangeStats, Exchanger};
use super::inbound::{Entrance, Stops};
use super::pairs::Pairs;
use super::registry::{Registration, Registry};
use super::requests::Requests;
use super::state::State;
use super::traffic::{Traffic, TrafficStats};
use super::watch::Watchers;
use super::{AskError, News, ProtocolId};
use crate::connection::{ConnectionEvent, ConnectionHandle, ConnectionId, LocalHello};
use crate::peer::PeerId;
use crate::stream::{
    BudgetLimits, Lanes, OutboundBudget, PoolStats, ReceivePolicy, ReceiveStats, ReceiveStreamManager,
    SendStreamPoolManager,
};
use crate::wire::ProtocolEntry;

/// How often deadlines of asks, requests and pushes are looked at.
const TICK: Duration = Duration::from_millis(50);

/// What the protocol layer goes by.
#[derive(Debug, Clone, Copy)]
pub struct ProtocolPolicy {
    /// Largest body any protocol may ask for, in bytes. Default 1 MiB.
    pub max_message: u32,
    /// Most owners of registered protocols, because each has an outbound budget. Default: as many as come.
    pub max_owners: usize,
}

impl Default for ProtocolPolicy {
    fn default() -> Self {
        Self { max_message: crate::wire::DEFAULT_MAX_MESSAGE, max_owners: usize::MAX }
    }
}

/// A registered protocol, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredProtocol {
    /// Its id.
    pub id: ProtocolId,
    /// Who serves it.
    pub owner: String,
    /// Connected peers that support it too.
    pub peers: usize,
}

/// The protocol layer in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProtocolStats {
    /// Admitted connections that sets are exchanged with.
    pub connections: usize,
    /// What peers were told and what they told.
    pub exchange: ExchangeStats,
    /// Streams that were not opened to a handler: the set that their header names did not come while they waited.
    pub out_of_sequence: u64,
    /// Streams that were not opened to a handler: they are for a registration that is not, or not any more.
    pub unregistered: u64,
    /// Streams that a handler was reading when their pair was shut: its protocol was unregistered by either side, or
    /// the peer went.
    pub cut: u64,
    /// Messages of ours that were committed when their protocol was not registered here any more, so that there was
    /// nobody to be told `undelivered`.
    pub unclaimed: u64,
    /// What became of messages and asks.
    pub traffic: TrafficStats,
}

/// Knows the local handlers and what every connected peer supports. Cheap to clone.
#[derive(Clone)]
pub struct ProtocolManager {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) node: PeerId,
    pub(super) incarnation: u64,
    pub(super) policy: ProtocolPolicy,
    pub(super) registry: Registry,
    pub(super) pairs: Pairs,
    pub(super) asks: Mutex<Asks>,
    pub(super) requests: Mutex<Requests>,
    pub(super) last_ask: AtomicU64,
    pub(super) closed: AtomicBool,
    pub(super) lanes: Arc<Lanes>,
    pub(super) pools: Arc<SendStreamPoolManager>,
    pub(super) receive: ReceiveStreamManager,
    pub(super) sequence: Arc<AtomicU64>,
    pub(super) tasks: TaskTracker,
    pub(super) stops: Stops,
    pub(super) traffic: Arc<Traffic>,
    pub(super) core: Mutex<Core>,
}

/// What the layer below gives to this one.
pub struct Streams {
    /// Makes lanes.
    pub lanes: Arc<Lanes>,
    /// The send-stream pools of all connections.
    pub pools: Arc<SendStreamPoolManager>,
    /// How many receive streams there may be.
    pub receive: ReceivePolicy,
    /// The sequence of the local protocol set, which lanes put into their headers; kept here.
    pub sequence: Arc<AtomicU64>,
    /// Where readers and draining run.
    pub tasks: TaskTracker,
}

#[derive(Default)]
pub(super) struct Core {
    pub(super) state: State,
    pub(super) links: BTreeMap<ConnectionId, PeerLink>,
    /// What the lanes of every owner may queue, while one of them or a registration is left.
    budgets: BTreeMap<String, Weak<OutboundBudget>>,
    pub(super) stats: ExchangeStats,
    pub(super) watchers: Watchers,
}

impl Core {
    /// Owners that have a budget, but for this one.
    pub(super) fn other_owners(&self, owner: &str) -> usize {
        self.budgets.iter().filter(|(of, budget)| *of != owner && budget.strong_count() > 0).count()
    }

    /// All protocols of one owner share one budget, also when it comes back while lanes of it still end.
    pub(super) fn budget(&mut self, owner: &str, limits: BudgetLimits) -> Arc<OutboundBudget> {
        if let Some(budget) = self.budgets.get(owner).and_then(Weak::upgrade) {
            return budget;
        }
        self.budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = OutboundBudget::new(limits);
        self.budgets.insert(owner.to_owned(), Arc::downgrade(&budget));
        budget
    }
}

pub(super) struct PeerLink {
    pub(super) connection: ConnectionHandle,
    /// It is being closed on purpose.
    pub(super) draining: bool,
    /// The peer's.
    pub(super) incarnation: u64,
    pub(super) exchanger: Exchanger,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProtocolManager {
    /// A manager without protocols; its readers run on the current tokio runtime.
    pub fn new(node: PeerId, incarnation: u64, policy: ProtocolPolicy, streams: Streams) -> Self {
        let Streams { lanes, pools, receive, sequence, tasks } = streams;
        let inner = Arc::new_cyclic(|inner| Inner {
            node,
            incarnation,
            policy,
            registry: Registry::default(),
            pairs: Pairs::default(),
            asks: Mutex::default(),
            requests: Mutex::default(),
            last_ask: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            lanes,
            pools,
            receive: ReceiveStreamManager::new(
                Arc::new(Entrance(inner.clone())),
                receive,
                tasks.clone(),
                tokio::runtime::Handle::current(),
            ),
            sequence,
            tasks,
            stops: Stops::default(),
            traffic: Arc::default(),
            core: Mutex::default(),
        });
        Self { inner }
    }

    /// Runs the deadlines of asks, requests and pushes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.inner.tick(Instant::now().into_std());
        }
    }

    /// Takes news of the connections. Never waits.
    pub fn handle(&self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Up { connection, hello, acceptor, sent_sequence, .. } => {
                self.inner.connection_up(connection, hello, acceptor, sent_sequence);
            }
            ConnectionEvent::Control { connection, peer, message } => self.inner.control(connection, peer, message),
            ConnectionEvent::Draining { connection, .. } => self.inner.drain(connection),
            ConnectionEvent::Down { connection, peer, last, .. } => self.inner.connection_down(connection, peer, last),
        }
    }

    /// What is registered here.
    pub fn registered(&self) -> Vec<RegisteredProtocol> {
        let shown = |registration: Arc<Registration>| RegisteredProtocol {
            id: registration.id.clone(),
            owner: registration.owner(),
            peers: self.inner.pairs.of_protocol(&registration.id).len(),
        };
        self.inner.registry.all().into_iter().map(shown).collect()
    }

    /// What a connected peer supports.
    pub fn peer_protocols(&self, peer: &PeerId) -> Vec<ProtocolId> {
        lock(&self.inner.core).state.peer_protocols(peer)
    }

    /// Connected peers that support all of `protocols`.
    pub fn peers_supporting(&self, protocols: &[ProtocolId]) -> Vec<PeerId> {
        lock(&self.inner.core).state.peers_supporting(protocols)
    }

    /// What the exchange came to since the start, how many streams were stopped for it, and what became of messages and
    /// asks.
    pub fn stats(&self) -> ProtocolStats {
        let core = lock(&self.inner.core);
        let stops = &self.inner.stops;
        ProtocolStats {
            connections: core.links.len(),
            exchange: core.stats,
            out_of_sequence: stops.out_of_sequence.load(Ordering::Relaxed),
            unregistered: stops.unregistered.load(Ordering::Relaxed),
            cut: stops.cut.load(Ordering::Relaxed),
            unclaimed: stops.unclaimed.load(Ordering::Relaxed),
            traffic: self.inner.traffic.stats(),
        }
    }

    /// The receive streams that are open.
    pub fn receive_stats(&self) -> ReceiveStats {
        self.inner.receive.stats()
    }

    /// The slots of every send-stream pool, by peer and connection.
    pub fn pool_stats(&self) -> Vec<(PeerId, ConnectionId, PoolStats)> {
        self.inner.pools.stats()
    }

    /// Bytes that lanes of all owners have queued.
    pub fn queued(&self) -> usize {
        lock(&self.inner.core).budgets.values().filter_map(Weak::upgrade).map(|budget| budget.used()).sum()
    }

    /// Requests without an outcome: our own that wait for an answer, and peers' that handlers have not answered.
    pub fn open_requests(&self) -> (usize, usize) {
        (lock(&self.inner.asks).len(), lock(&self.inner.requests).len())
    }

    /// Refuses everything from now on; open asks end as closed.
    pub fn close(&self) {
        let before = {
            let _core = lock(&self.inner.core);
            self.inner.closed.store(true, Ordering::Release);
            self.inner.registry.all()
        };
        for registration in before {
            self.inner.unregister(&registration.id);
        }
    }
}

impl LocalHello for ProtocolManager {
    fn protocols(&self) -> (u64, Vec<ProtocolEntry>) {
        let core = lock(&self.inner.core);
        (core.state.sequence(), core.state.local_set())
    }
}

impl Inner {
    pub(super) fn tick(&self, now: std::time::Instant) {
        let expired = lock(&self.asks).expire(now);
        for (id, peer, protocol, reply) in expired {
            self.withdraw(id, &peer, &protocol);
            self.traffic.end(reply, Err(AskError::TimedOut));
        }
        let expired = lock(&self.requests).expire(now);
        for (token, protocol) in expired {
            if let Some(registration) = self.registry.named(&protocol) {
                registration.handler().news(News::Withdrawn(token));
            }
        }
        self.push_again(&mut lock(&self.core), now);
        self.pools.look_for_spare(|connection| self.receive.is_busy(connection));
    }
}
