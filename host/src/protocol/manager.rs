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
use super::exchange::Exchanger;
use super::inbound::Entrance;
use super::pairs::Pairs;
use super::registry::{Registration, Registry};
use super::requests::Requests;
use super::state::State;
use super::{AskError, News, ProtocolId};
use crate::connection::{ConnectionEvent, ConnectionHandle, ConnectionId, LocalHello};
use crate::peer::PeerId;
use crate::stream::{
    BudgetLimits, Lanes, OutboundBudget, ReceivePolicy, ReceiveStats, ReceiveStreamManager, SendStreamPoolManager,
};
use crate::wire::ProtocolEntry;

/// How often deadlines of asks, requests and pushes are looked at.
const TICK: Duration = Duration::from_millis(50);

/// What the protocol layer goes by.
#[derive(Debug, Clone, Copy)]
pub struct ProtocolPolicy {
    /// Largest body any protocol may ask for, in bytes. Default 1 MiB.
    pub max_message: u32,
}

impl Default for ProtocolPolicy {
    fn default() -> Self {
        Self { max_message: crate::wire::DEFAULT_MAX_MESSAGE }
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

pub(super) struct Core {
    pub(super) state: State,
    pub(super) links: BTreeMap<ConnectionId, PeerLink>,
    /// What the lanes of every owner may queue, while one of them or a registration is left.
    budgets: BTreeMap<String, Weak<OutboundBudget>>,
}

impl Core {
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
            core: Mutex::new(Core { state: State::default(), links: BTreeMap::new(), budgets: BTreeMap::new() }),
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

    /// The receive streams that are open.
    pub fn receive_stats(&self) -> ReceiveStats {
        self.inner.receive.stats()
    }

    /// Refuses everything from now on; open asks end as closed.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        for registration in self.inner.registry.all() {
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
    fn tick(&self, now: std::time::Instant) {
        let expired = lock(&self.asks).expire(now);
        for (id, peer, protocol, reply) in expired {
            self.withdraw(id, &peer, &protocol);
            reply(Err(AskError::TimedOut));
        }
        let expired = lock(&self.requests).expire(now);
        for (token, protocol) in expired {
            if let Some(registration) = self.registry.named(&protocol) {
                registration.handler().news(News::Withdrawn(token));
            }
        }
        let mut core = lock(&self.core);
        let Core { state, links, .. } = &mut *core;
        for link in links.values_mut() {
            let give = link.exchanger.tick(state.sequence(), now);
            self.give(state, &link.connection, give);
        }
    }
}
