//! The protocol manager: keeps the state, carries out what follows from it, and owns the exchange with every peer.
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
use tracing::{debug, info, warn};

use super::asks::Asks;
use super::exchange::{Exchanger, Give};
use super::inbound::Entrance;
use super::outbound::Notices;
use super::pairs::{Pair, Pairs};
use super::registry::{Registration, Registry};
use super::requests::{Asker, Requests};
use super::state::{Action, SetError, State};
use super::{AskError, Handler, News, ProtocolId, ProtocolSpec, RegisterError};
use crate::connection::{ConnectionEvent, ConnectionHandle, ConnectionId, LocalHello};
use crate::peer::PeerId;
use crate::stream::{
    BudgetLimits, Lanes, OutboundBudget, PoolStats, ReceivePolicy, ReceiveStats, ReceiveStreamManager,
    SendStreamPoolManager,
};
use crate::transport::LinkAcceptor;
use crate::wire::{CloseCode, Control, Hello, ProtocolEntry, SetChange};

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
    incarnation: u64,
    policy: ProtocolPolicy,
    pub(super) registry: Registry,
    pub(super) pairs: Pairs,
    pub(super) asks: Mutex<Asks>,
    pub(super) requests: Mutex<Requests>,
    pub(super) last_ask: AtomicU64,
    pub(super) closed: AtomicBool,
    lanes: Arc<Lanes>,
    pools: Arc<SendStreamPoolManager>,
    receive: ReceiveStreamManager,
    sequence: Arc<AtomicU64>,
    tasks: TaskTracker,
    core: Mutex<Core>,
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

struct Core {
    state: State,
    links: BTreeMap<ConnectionId, PeerLink>,
    /// What the lanes of every owner may queue, while one of them or a registration is left.
    budgets: BTreeMap<String, Weak<OutboundBudget>>,
}

impl Core {
    /// All protocols of one owner share one budget, also when it comes back while lanes of it still end.
    fn budget(&mut self, owner: &str, limits: BudgetLimits) -> Arc<OutboundBudget> {
        if let Some(budget) = self.budgets.get(owner).and_then(Weak::upgrade) {
            return budget;
        }
        self.budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = OutboundBudget::new(limits);
        self.budgets.insert(owner.to_owned(), Arc::downgrade(&budget));
        budget
    }
}

struct PeerLink {
    connection: ConnectionHandle,
    /// The peer's.
    incarnation: u64,
    exchanger: Exchanger,
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

    /// The slots of every send-stream pool, by peer and connection.
    pub fn pool_stats(&self) -> Vec<(PeerId, ConnectionId, PoolStats)> {
        self.inner.pools.stats()
    }

    /// Requests without an outcome: our own that wait for an answer, and peers' that handlers have not answered.
    pub fn open_requests(&self) -> (usize, usize) {
        (lock(&self.inner.asks).len(), lock(&self.inner.requests).len())
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
    pub(super) fn register(
        self: &Arc<Self>,
        spec: ProtocolSpec,
        owner: &str,
        handler: Arc<dyn Handler>,
    ) -> Result<(), RegisterError> {
        let limit = self.policy.max_message;
        if spec.max_message > limit {
            return Err(RegisterError::TooLarge { id: spec.id, asked: spec.max_message, limit });
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(RegisterError::Closed);
        }
        let mut core = lock(&self.core);
        let owner_of = |id: &ProtocolId| self.registry.named(id).map(|taken| taken.owner()).unwrap_or_default();
        let (number, actions) = core.state.register(&spec.id, spec.max_message, owner_of)?;
        info!(protocol = %spec.id, owner, number, "protocol registered");
        let budget = core.budget(owner, BudgetLimits::for_messages(limit));
        self.registry.insert(Registration::new(spec.id, number, spec.max_message, budget, owner, handler));
        self.apply(&mut core, actions, AskError::Unsupported);
        Ok(())
    }

    pub(super) fn replace(&self, id: &ProtocolId, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let _core = lock(&self.core);
        let registration = self.registry.named(id).ok_or(RegisterError::Closed)?;
        for (peer, pair) in self.pairs.of_protocol(id) {
            let max_message = pair.max_message;
            handler.news(News::Supported { peer, protocol: id.clone(), max_message });
        }
        registration.replace(owner, handler);
        Ok(())
    }

    pub(super) fn unregister(self: &Arc<Self>, id: &ProtocolId) {
        let mut core = lock(&self.core);
        let Some(registration) = self.registry.remove(id) else { return };
        registration.closed.cancel();
        info!(protocol = %id, number = registration.number, "protocol unregistered");
        let actions = core.state.unregister(id);
        self.apply(&mut core, actions, AskError::Closed);
    }

    /// Carries out what the state decided; asks that end with a pair end with `why`.
    fn apply(self: &Arc<Self>, core: &mut Core, actions: Vec<Action>, why: AskError) {
        self.sequence.store(core.state.sequence(), Ordering::Release);
        for action in actions {
            match action {
                Action::Open { peer, protocol, registration, max_message } => {
                    self.open_pair(peer, &protocol, registration, max_message);
                }
                Action::Shut { peer, protocol } => self.shut_pair(peer, &protocol, &why),
                Action::Announce => self.announce(core),
            }
        }
    }

    fn open_pair(self: &Arc<Self>, peer: PeerId, protocol: &ProtocolId, remote_registration: u64, max_message: u32) {
        let (Some(of_peer), Some(registration)) = (self.pairs.peer(&peer), self.registry.named(protocol)) else {
            return;
        };
        let closed = registration.closed.child_token();
        let (budget, notices) = (registration.budget.clone(), Notices::of(peer, &registration));
        let lane = self.lanes.open(peer, remote_registration, budget, notices);
        let pair = Pair { registration: registration.clone(), remote_registration, max_message, lane, closed };
        of_peer.insert(protocol.clone(), pair);
        debug!(%peer, %protocol, "peer supports the protocol");
        registration.handler().news(News::Supported { peer, protocol: protocol.clone(), max_message });
    }

    fn shut_pair(&self, peer: PeerId, protocol: &ProtocolId, why: &AskError) {
        let Some(pair) = self.pairs.peer(&peer).and_then(|of_peer| of_peer.remove(protocol)) else { return };
        pair.closed.cancel();
        pair.lane.close();
        debug!(%peer, %protocol, "peer supports the protocol no longer");
        let unanswered = lock(&self.asks).drop_lane(&peer, protocol);
        unanswered.into_iter().for_each(|reply| reply(Err(why.clone())));
        let handler = pair.registration.handler();
        let asker = Asker { peer, protocol: protocol.clone() };
        let withdrawn = lock(&self.requests).drop_lane(&asker);
        withdrawn.into_iter().for_each(|token| handler.news(News::Withdrawn(token)));
        handler.news(News::Unsupported { peer, protocol: protocol.clone() });
    }

    fn announce(&self, core: &mut Core) {
        let now = Instant::now().into_std();
        let Core { state, links, .. } = core;
        for link in links.values_mut() {
            let give = link.exchanger.changed(state.sequence(), now);
            self.give(state, &link.connection, give);
        }
    }

    fn give(&self, state: &State, connection: &ConnectionHandle, give: Give) {
        let change = match give {
            Give::Nothing => return,
            Give::Since(base) => state.change_since(base).unwrap_or_else(|| state.full()),
            Give::Full => state.full(),
            Give::Up => {
                warn!(peer = %connection.peer, "the peer never applied our protocol set; closing the connection");
                connection.link.close(CloseCode::ProtocolViolation);
                return;
            }
        };
        let (incarnation, sequence) = (self.incarnation, state.sequence());
        connection.control.send(Control::Protocols { incarnation, sequence, change });
    }

    fn connection_up(
        self: &Arc<Self>,
        connection: ConnectionHandle,
        hello: Hello,
        acceptor: LinkAcceptor,
        sent_sequence: u64,
    ) {
        let mut core = lock(&self.core);
        let (peer, id, incarnation) = (connection.peer, connection.id, hello.incarnation);
        let actions = match core.state.peer_up(peer, incarnation, hello.sequence, hello.protocols) {
            Ok(actions) => actions,
            Err(wrong) => {
                warn!(%peer, %wrong, "the peer's protocol set breaks a rule; closing the connection");
                connection.link.close(CloseCode::ProtocolViolation);
                return;
            }
        };
        self.pools.add(&connection, hello.max_streams);
        self.forget_predecessor(&mut core, peer, incarnation);
        let (shut, open): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Shut { .. }));
        self.apply(&mut core, shut, AskError::NotConnected);
        let of_peer = self.pairs.admit(peer, incarnation);
        of_peer.draining.store(false, Ordering::Release);
        self.apply(&mut core, open, AskError::Unsupported);
        of_peer.applied.set(core.state.applied(&peer).unwrap_or(0));
        self.receive.add(connection.clone(), acceptor, incarnation);
        let mut exchanger = Exchanger::new(sent_sequence);
        let give = exchanger.changed(core.state.sequence(), Instant::now().into_std());
        self.give(&core.state, &connection, give);
        core.links.insert(id, PeerLink { connection, incarnation, exchanger });
    }

    /// Ends the streams of a peer's earlier incarnation: its lane numbers mean nothing any more.
    fn forget_predecessor(&self, core: &mut Core, peer: PeerId, incarnation: u64) {
        let of_predecessor = |link: &PeerLink| link.connection.peer == peer && link.incarnation != incarnation;
        for (id, _) in core.links.extract_if(.., |_, link| of_predecessor(link)) {
            self.receive.remove(id);
            self.pools.remove(id);
        }
    }

    fn connection_down(self: &Arc<Self>, connection: ConnectionId, peer: PeerId, last: bool) {
        let mut core = lock(&self.core);
        core.links.remove(&connection);
        self.receive.remove(connection);
        self.pools.remove(connection);
        if last {
            // From here on it is not connected; that its pairs are shut one by one must not look like anything else.
            if let Some(of_peer) = self.pairs.peer(&peer) {
                of_peer.draining.store(true, Ordering::Release);
            }
            let actions = core.state.peer_down(&peer);
            self.apply(&mut core, actions, AskError::NotConnected);
            self.pairs.forget(&peer);
        }
    }

    fn control(self: &Arc<Self>, connection: ConnectionId, peer: PeerId, message: Control) {
        match message {
            Control::Protocols { incarnation, sequence, change } => {
                self.peer_changed(connection, peer, incarnation, sequence, change);
            }
            Control::ProtocolsApplied { incarnation, sequence } if incarnation == self.incarnation => {
                let mut core = lock(&self.core);
                let Core { state, links, .. } = &mut *core;
                let Some(link) = links.get_mut(&connection) else { return };
                let give = link.exchanger.applied(sequence, state.sequence(), Instant::now().into_std());
                self.give(state, &link.connection, give);
            }
            Control::Abandon { stream } => self.receive.abandon(connection, stream),
            Control::StreamProgress { stream, frames } => self.pools.progress(connection, stream, frames),
            Control::StreamEnded { stream, frames, outcome } => {
                self.pools.ended(connection, stream, frames, outcome);
            }
            _ => {}
        }
    }

    fn peer_changed(
        self: &Arc<Self>,
        connection: ConnectionId,
        peer: PeerId,
        incarnation: u64,
        sequence: u64,
        change: SetChange,
    ) {
        let mut core = lock(&self.core);
        match core.state.peer_changed(peer, incarnation, sequence, change) {
            Ok(actions) => self.apply(&mut core, actions, AskError::Unsupported),
            Err(SetError::OtherBase) => debug!(%peer, "the peer's change is to another set; asking for the full one"),
            Err(SetError::Stale) => return,
            Err(SetError::Violation(wrong)) => {
                warn!(%peer, wrong, "the peer's protocol set breaks a rule; closing the connection");
                if let Some(link) = core.links.get(&connection) {
                    link.connection.link.close(CloseCode::ProtocolViolation);
                }
                return;
            }
        }
        let applied = core.state.applied(&peer).unwrap_or(0);
        if let Some(of_peer) = self.pairs.peer(&peer) {
            of_peer.applied.set(applied);
        }
        if let Some(link) = core.links.get(&connection) {
            link.connection.control.send(Control::ProtocolsApplied { incarnation, sequence: applied });
        }
    }

    fn drain(self: &Arc<Self>, connection: ConnectionId) {
        let Some(connection) = lock(&self.core).links.get(&connection).map(|link| link.connection.clone()) else {
            return;
        };
        let pools = self.pools.clone();
        let lanes = self.pairs.lanes_of(&connection.peer);
        if let Some(of_peer) = self.pairs.peer(&connection.peer).filter(|_| pools.of_peer(&connection.peer).len() == 1)
        {
            of_peer.draining.store(true, Ordering::Release);
        }
        // The connection layer sets the deadline; when it closes, lanes and pool are done, too.
        self.tasks.spawn(async move {
            for lane in lanes {
                lane.flush().await;
            }
            pools.drain(connection.id).await;
            connection.drained();
        });
    }

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
