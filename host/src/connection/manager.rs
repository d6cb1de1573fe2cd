//! The handle of the connection manager: who is connected, and who shall be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::actor::Actor;
use super::{
    AlivePolicy, ConnectionCounts, ConnectionEvent, ConnectionId, ConnectionLimits, DialFailure, Level, LocalHello,
    Route,
};
use crate::peer::PeerId;
use crate::runtime::{Clock, Runtime};
use crate::transport::{AccessLists, Direction, Incoming, Transport};
use crate::wire::{CloseCode, Hello, SignedAddressRecord, WIRE_VERSION};

/// Commands that may wait for the actor. It never blocks, so a short queue is enough; callers wait beyond it.
const COMMAND_QUEUE: usize = 64;

/// Makes this node's address record when a hello is sent, so that it is never an expired one.
pub type AddressSource = Arc<dyn Fn() -> Option<SignedAddressRecord> + Send + Sync>;

/// What the manager needs to know besides the transport.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// Whom to let in.
    pub limits: ConnectionLimits,
    /// This process's incarnation; the stream headers of the node carry the same number.
    pub incarnation: u64,
    /// Data streams a peer may have open at once on one connection.
    pub max_streams: u32,
    /// Where this node listens, for the hello.
    pub address: Option<AddressSource>,
    /// How a peer that does not answer is found out.
    pub alive: AlivePolicy,
}

impl ConnectionConfig {
    /// Default limits, no address to tell, and an incarnation drawn at random.
    pub fn new(max_streams: u32, runtime: &Runtime) -> Self {
        let incarnation = runtime.entropy.number();
        let (limits, alive) = (ConnectionLimits::default(), AlivePolicy::default());
        Self { limits, incarnation, max_streams, address: None, alive }
    }
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("limits", &self.limits)
            .field("incarnation", &self.incarnation)
            .field("max_streams", &self.max_streams)
            .finish_non_exhaustive()
    }
}

/// What all connections of the node share.
pub(super) struct Shared {
    pub(super) config: ConnectionConfig,
    pub(super) hello: Arc<dyn LocalHello>,
    pub(super) clock: Arc<dyn Clock>,
    /// Makes evictions by chance repeatable.
    pub(super) seed: u64,
}

impl Shared {
    /// The hello as of now, and the sequence of the protocol set in it.
    pub(super) fn hello(&self, dial: u64, beside: bool) -> (Hello, u64) {
        let (sequence, protocols) = self.hello.protocols();
        let hello = Hello {
            version: WIRE_VERSION,
            incarnation: self.config.incarnation,
            dial,
            beside,
            max_streams: self.config.max_streams,
            address: self.config.address.as_ref().and_then(|source| source()),
            sequence,
            protocols,
        };
        (hello, sequence)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// One admitted connection, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// Its name in this process.
    pub id: ConnectionId,
    /// Who dialed.
    pub direction: Direction,
    /// Where the peer's packets come from.
    pub remote: Option<SocketAddr>,
    /// The peer's incarnation.
    pub incarnation: u64,
    /// How long it is admitted.
    pub age: Duration,
    /// Whether it is being closed deliberately.
    pub draining: bool,
}

/// One connected peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// How it ranks.
    pub level: Level,
    /// Its admitted connections; at least one.
    pub connections: Vec<ConnectionStatus>,
}

/// The manager's counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagerStatus {
    /// Places taken: peers admitted by this side.
    pub peers: usize,
    /// Those of them that are ordinary and dialed this node.
    pub inbound_ordinary: usize,
    /// Inbound connections not decided yet.
    pub pending: usize,
    /// Admitted connections of the peer that has most.
    pub most_of_one_peer: usize,
    /// Inbound connections of the source that has most.
    pub most_of_one_source: usize,
    /// What the limits are.
    pub limits: ConnectionLimits,
    /// Peers somebody waits to be connected to.
    pub dials: usize,
    /// What was decided since the start.
    pub counts: ConnectionCounts,
}

/// Who waits for a dial.
pub(super) type DialReply = oneshot::Sender<Result<ConnectionId, DialFailure>>;

#[derive(Debug)]
pub(super) enum Command {
    Dial { route: Route, reply: DialReply },
    DialAnother { peer: PeerId, reply: DialReply },
    Access { lists: AccessLists, reply: oneshot::Sender<usize> },
    Close { peer: PeerId, code: CloseCode },
    GiveUp { connection: ConnectionId },
    SetLevel { peer: PeerId, level: Level },
    Peers { reply: oneshot::Sender<BTreeMap<PeerId, PeerStatus>> },
    Status { reply: oneshot::Sender<ManagerStatus> },
    Shutdown { until: Instant, reply: oneshot::Sender<()> },
}

/// Decides who is connected; cheap to clone. When the last clone is dropped, all connections are closed.
///
/// Every call is answered by one actor that never waits for a peer or for the layers above. After
/// [`ConnectionManager::shutdown`] dials fail with [`DialFailure::Stopping`] and everything else says nothing.
#[derive(Debug, Clone)]
pub struct ConnectionManager {
    commands: mpsc::Sender<Command>,
}

impl ConnectionManager {
    /// Starts on the current tokio runtime: takes every link of `incoming` and tells `events` what comes of them.
    ///
    /// `events` must be read all the time. When it is not, messages wait; decisions do not.
    pub fn start(
        config: ConnectionConfig,
        transport: Transport,
        incoming: Incoming,
        hello: Arc<dyn LocalHello>,
        runtime: &Runtime,
        events: mpsc::Sender<ConnectionEvent>,
    ) -> Self {
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let shared = Arc::new(Shared { config, hello, clock: runtime.clock.clone(), seed: runtime.entropy.number() });
        tokio::spawn(Actor::new(shared, transport, events).run(commands, incoming));
        Self { commands: sender }
    }

    /// Connects to a peer at a `PeerAddr`, or at the best of the addresses of a [`Route`]; done when both sides have
    /// admitted the connection. When the peer dials at the same time, the connection may be the peer's. A second
    /// dial of the same peer waits for the outcome of the first, whose addresses count.
    ///
    /// Cancel safe: the attempt goes on without the caller.
    ///
    /// # Errors
    /// See [`DialFailure`]; comes 30 s after the last address was started at the latest.
    pub async fn dial(&self, to: impl Into<Route>) -> Result<ConnectionId, DialFailure> {
        let route = to.into();
        self.ask(|reply| Command::Dial { route, reply }).await.unwrap_or(Err(DialFailure::Stopping))
    }

    /// Makes one more connection to a connected peer; done when both sides have admitted it. It is dialed where an
    /// outbound connection of the peer leads, else where the peer was last dialed, else where its hello says that it
    /// listens. When another dial of the peer is under way, from either side, this one ends with it.
    ///
    /// Cancel safe: the attempt goes on without the caller.
    ///
    /// # Errors
    /// [`DialFailure::NotConnected`] without a connection to have one more of, [`DialFailure::NoAddress`] without a
    /// place to dial, [`DialFailure::NotAdmitted`] with `Full` when `connections_per_peer` is reached here and
    /// [`DialFailure::Refused`] with `Full` when it is there, and as [`Self::dial`].
    pub async fn dial_another(&self, peer: PeerId) -> Result<ConnectionId, DialFailure> {
        self.ask(|reply| Command::DialAnother { peer, reply }).await.unwrap_or(Err(DialFailure::Stopping))
    }

    /// Lets in from now on whom these lists allow, and closes at once (with `Blocked`, without draining) what they
    /// deny. Returns how many connections and dials that were.
    pub async fn set_access(&self, lists: AccessLists) -> usize {
        self.ask(|reply| Command::Access { lists, reply }).await.unwrap_or_default()
    }

    /// Closes all connections of a peer. What is open may finish first, for 2 s at most; this call does not wait
    /// for it.
    pub async fn close(&self, peer: PeerId, code: CloseCode) {
        let _ = self.commands.send(Command::Close { peer, code }).await;
    }

    /// Closes one connection of a peer that has others, once both sides have drained it. The only one stays.
    pub async fn give_up(&self, connection: ConnectionId) {
        let _ = self.commands.send(Command::GiveUp { connection }).await;
    }

    /// Ranks a peer, connected or not, until it is ranked again.
    pub async fn set_level(&self, peer: PeerId, level: Level) {
        let _ = self.commands.send(Command::SetLevel { peer, level }).await;
    }

    /// The admitted connections of a peer.
    pub async fn connections(&self, peer: &PeerId) -> Vec<ConnectionStatus> {
        let mut all = self.ask(|reply| Command::Peers { reply }).await.unwrap_or_default();
        all.remove(peer).map(|status| status.connections).unwrap_or_default()
    }

    /// All connected peers, in the order of their ids.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        self.ask(|reply| Command::Peers { reply }).await.unwrap_or_default().into_values().collect()
    }

    /// Counts and limits.
    pub async fn status(&self) -> ManagerStatus {
        self.ask(|reply| Command::Status { reply }).await.unwrap_or_default()
    }

    /// Lets nobody in any more, drains and closes all connections; returns when they are gone or after `deadline`,
    /// when they are closed all the same. May be called twice.
    pub async fn shutdown(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        let _ = self.ask(|reply| Command::Shutdown { until, reply }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
