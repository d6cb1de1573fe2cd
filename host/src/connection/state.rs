//! Who is connected: decides about every connection, from its dial or handshake to its end. Pure.
//!
//! The shell feeds [`Event`]s with the time since the node's start and carries out the [`Action`]s in order. It
//! calls [`State::handle`] with [`Event::Tick`] at [`State::deadline`].
//!
//! Invariants:
//! - The layers above know of at most `connections_per_peer` connections of a peer at any time, those that drain
//!   included, and never of two of different incarnations.
//! - The place of a peer is taken in the same step that decides to admit it, so no two newcomers can both pass
//!   the last free place: peers in `Answered`, `Ready` or `Up` never exceed `max_peers`, and their connections never
//!   exceed `connections_per_peer` each.
//! - The connections that hold a place and those that drain are never more than what the memory arithmetic counts
//!   ([`ConnectionLimits::draining_beside`]) when a newcomer is let in.
//! - No ordinary peer who dials gets a place while `max_peers - reserved_outbound` such peers have one. (Demoting a
//!   necessary peer can make them more.)
//! - A necessary peer loses its place only to another necessary one, and never with `lifo`.
//! - No connection is up whose peer or address the access lists deny.
//! - Every connection that is not up has a deadline. So no connection, and no dial, can wait for ever.
//! - A dial ends exactly once, by [`Action::DialDone`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::limits::{ConnectionLimits, DRAIN_TIMEOUT};
use super::{ConnectionId, DialFailure, Level};
use crate::peer::PeerId;
use crate::transport::{AccessLists, Direction, LinkError};
use crate::wire::{CloseCode, Control};

#[path = "admission.rs"]
mod admission;
#[path = "closing.rs"]
mod closing;
#[path = "dialing.rs"]
mod dialing;
#[path = "places.rs"]
mod places;
#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody wants to be connected to `peer`, or, when `another` is set, once more; `connection` is a fresh name for
    /// the dial.
    DialRequested { connection: ConnectionId, peer: PeerId, address: SocketAddr, another: bool },
    /// The handshake of a dial failed.
    DialFailed { connection: ConnectionId, failure: DialFailure },
    /// A handshake is done; the peer is proven, and its address.
    Linked { connection: ConnectionId, peer: PeerId, direction: Direction, remote: SocketAddr },
    /// The peer's hello came; its version is ours.
    Hello { connection: ConnectionId, incarnation: u64, dial: u64, beside: bool },
    /// The peer's hello is of another wire version.
    WrongVersion { connection: ConnectionId, theirs: u16 },
    /// The peer said `Admitted`.
    Admitted { connection: ConnectionId },
    /// The peer said `Refused`.
    Refused { connection: ConnectionId, code: CloseCode, reason: String },
    /// The peer answered a ping.
    Pong { connection: ConnectionId, number: u64 },
    /// The peer will close.
    PeerDrain { connection: ConnectionId, code: CloseCode },
    /// The peer has finished all that it had open.
    PeerDrained { connection: ConnectionId },
    /// This side has finished all that it had open.
    OwnDrained { connection: ConnectionId },
    /// The connection is gone and its task says nothing more.
    Closed { connection: ConnectionId, cause: LinkError },
    /// The peer's packets come from another address now.
    Moved { connection: ConnectionId, remote: SocketAddr },
    /// The operator decides anew who may connect.
    Access { lists: AccessLists },
    /// The operator or the supervisor ranks a peer.
    SetLevel { peer: PeerId, level: Level },
    /// All connections of a peer are wanted no more.
    CloseRequested { peer: PeerId, code: CloseCode },
    /// A connection beside others of its peer is needed no more.
    GiveUp { connection: ConnectionId },
    /// The node stops: drain all, let nobody in.
    Shutdown,
    /// A deadline may have passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start the handshake.
    Dial { connection: ConnectionId },
    /// Stop the handshake of a dial; nothing more is heard of it.
    CancelDial { connection: ConnectionId },
    /// Start the control stream and say hello with this dial counter.
    Greet { connection: ConnectionId, dial: u64, beside: bool },
    /// Queue a control message.
    Send { connection: ConnectionId, message: Control },
    /// Close at once one that was never greeted.
    TurnAway { connection: ConnectionId, code: CloseCode },
    /// Close at once.
    Close { connection: ConnectionId, code: CloseCode },
    /// Tell the layers above that traffic may flow.
    Up { connection: ConnectionId },
    /// Tell the layers above to finish what is open.
    Draining { connection: ConnectionId },
    /// Tell the layers above, if they were told of it, that the connection is gone.
    Down { connection: ConnectionId, cause: LinkError },
    /// Answer all who dialed the peer.
    DialDone { peer: PeerId, result: Result<ConnectionId, DialFailure> },
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Outbound, handshake under way.
    Dialing,
    /// Waits for the peer's hello.
    Greeting,
    /// Hello is there; an older connection of the peer must be cleared first.
    Waiting,
    /// This side said `Admitted`.
    Answered,
    /// Both said `Admitted`; the peer's older connection is not gone yet.
    Ready,
    /// Told to the layers above.
    Up,
    /// Up, and being closed deliberately.
    Draining(Drain),
    /// Refused or closed; only its end is awaited.
    Closing(CloseCode),
}

/// How far a deliberate close is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// The code that CONNECTION_CLOSE will carry.
    pub(super) code: CloseCode,
    /// Whether this side began, and so closes.
    pub(super) initiator: bool,
    /// Whether this side is finished.
    pub(super) own: bool,
    /// Whether the peer is finished.
    pub(super) theirs: bool,
}

/// One connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) direction: Direction,
    /// Where it was dialed or where the peer's packets come from.
    pub(super) remote: SocketAddr,
    pub(super) stage: Stage,
    /// The peer's incarnation, once its hello came.
    pub(super) incarnation: Option<u64>,
    /// The dial counter of the side that dialed; of an inbound one once the hello came.
    dial: Option<u64>,
    /// Dialed here to have one more, if the peer is still connected when the handshake is done.
    another: bool,
    /// The dialing side's hello says that it is one more.
    beside: bool,
    /// The peer said `Admitted`, maybe before this side decided.
    admitted_by_peer: bool,
    /// The layers above were told of it.
    pub(super) told: bool,
    deadline: Option<Duration>,
    /// An older connection that must prove that it is alive: the number of the ping and its deadline.
    probe: Option<(u64, Duration)>,
    /// Since when it is up.
    pub(super) up_since: Option<Duration>,
}

impl Connection {
    /// Holds its peer's place.
    fn holds_place(&self) -> bool {
        matches!(self.stage, Stage::Answered | Stage::Ready | Stage::Up)
    }

    /// Came in, and waits for a decision or for its end after one against it.
    fn is_undecided(&self) -> bool {
        self.direction == Direction::Inbound && !self.told && !self.holds_place()
    }

    /// May still become or is an admitted connection.
    fn is_hopeful(&self) -> bool {
        !matches!(self.stage, Stage::Draining(_) | Stage::Closing(_))
    }

    /// May still become one.
    fn is_coming(&self) -> bool {
        self.is_hopeful() && !self.told
    }
}

/// What was decided since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Dials begun.
    pub dialed: u64,
    /// Connections that were admitted by both sides and told to the layers above.
    pub admitted: u64,
    /// Of those, the ones that have ended. `admitted - ended` are up or draining now.
    pub ended: u64,
    /// Connections that this side refused, [`Self::turned_away`] included.
    pub refused: u64,
    /// Connections that this side closed before any hello, because too many were undecided, of one source, or denied.
    pub turned_away: u64,
    /// Connections closed or refused, and dials not made, because the access lists deny the peer or its address.
    pub denied: u64,
    /// Peers that lost their place to another.
    pub evicted: u64,
    /// Connections that a newer one of the same peer replaced.
    pub replaced: u64,
    /// Connections closed because hello or decision did not come in time.
    pub hello_timeouts: u64,
}

/// All connections of the node.
#[derive(Debug)]
pub(super) struct State {
    me: PeerId,
    pub(super) limits: ConnectionLimits,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    by_peer: BTreeMap<PeerId, BTreeSet<ConnectionId>>,
    necessary: BTreeSet<PeerId>,
    access: AccessLists,
    /// When each peer got its place: the newest has the greatest. Kept while the peer has any connection, so that
    /// it does not grow older or younger by dialing again.
    seniority: BTreeMap<PeerId, u64>,
    random: StdRng,
    /// Peers somebody waits to be connected to.
    dials: BTreeSet<PeerId>,
    pub(super) counts: ConnectionCounts,
    last_dial: u64,
    last_place: u64,
    last_probe: u64,
    stopping: bool,
    actions: Vec<Action>,
}

impl State {
    /// The same `seed` and the same events make the same decisions.
    pub(super) fn new(me: PeerId, limits: ConnectionLimits, access: AccessLists, seed: u64) -> Self {
        Self {
            me,
            access,
            seniority: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            limits,
            connections: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            necessary: BTreeSet::new(),
            dials: BTreeSet::new(),
            counts: ConnectionCounts::default(),
            last_dial: 0,
            last_place: 0,
            last_probe: 0,
            stopping: false,
            actions: Vec::new(),
        }
    }

    /// Decides. `now` never goes back.
    pub(super) fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::DialRequested { connection, peer, address, another } => {
                self.dial_requested(connection, peer, address, another);
            }
            Event::DialFailed { connection, failure } => self.dial_failed(connection, failure),
            Event::Linked { connection, peer, direction, remote } => {
                self.linked(connection, peer, direction, remote, now);
            }
            Event::Hello { connection, incarnation, dial, beside } => {
                self.hello(connection, incarnation, dial, beside, now);
            }
            Event::WrongVersion { connection, theirs } => self.wrong_version(connection, theirs, now),
            Event::Admitted { connection } => self.admitted(connection, now),
            Event::Refused { connection, code, reason } => {
                self.refused(connection, code, reason, now);
            }
            Event::Pong { connection, number } => self.pong(connection, number, now),
            Event::PeerDrain { connection, code } => self.peer_drain(connection, code, now),
            Event::PeerDrained { connection } => self.drained(connection, false),
            Event::OwnDrained { connection } => self.drained(connection, true),
            Event::Closed { connection, cause } => self.closed(connection, cause, now),
            Event::Moved { connection, remote } => self.moved(connection, remote, now),
            Event::Access { lists } => self.access_changed(lists, now),
            Event::SetLevel { peer, level } => self.set_level(peer, level),
            Event::CloseRequested { peer, code } => self.close_peer(peer, code, now),
            Event::GiveUp { connection } => self.give_up(connection, now),
            Event::Shutdown => self.shutdown(now),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// When to call with [`Event::Tick`].
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.connections.values().flat_map(|c| [c.deadline, c.probe.map(|(_, until)| until)]).flatten().min()
    }

    /// How `peer` ranks.
    pub(super) fn level(&self, peer: &PeerId) -> Level {
        if self.necessary.contains(peer) { Level::Necessary } else { Level::Ordinary }
    }

    /// Whether anything is held of a peer: a connection or a dial.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.by_peer.contains_key(peer)
    }

    /// Whether the connection carries traffic and is not being closed.
    pub(super) fn is_up(&self, connection: &ConnectionId) -> bool {
        self.connections.get(connection).is_some_and(|c| c.stage == Stage::Up)
    }

    /// Dials that are not answered yet.
    pub(super) fn dials(&self) -> usize {
        self.dials.len()
    }

    /// Takes effect with the next newcomer.
    fn set_level(&mut self, peer: PeerId, level: Level) {
        let changed = match level {
            Level::Necessary => self.necessary.insert(peer),
            Level::Ordinary => self.necessary.remove(&peer),
        };
        if changed {
            tracing::debug!(peer = %peer.short(), ?level, "ranked");
        }
    }

    /// The connections of a peer, collected so that they can be changed on the way.
    fn of(&self, peer: &PeerId) -> std::vec::IntoIter<ConnectionId> {
        self.by_peer.get(peer).map(|ids| ids.iter().copied().collect::<Vec<_>>()).unwrap_or_default().into_iter()
    }

    fn edit(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Connection)) {
        if let Some(found) = self.connections.get_mut(&connection) {
            change(found);
        }
    }

    fn insert(&mut self, id: ConnectionId, peer: PeerId, direction: Direction, remote: SocketAddr) {
        let fresh = Connection {
            peer,
            direction,
            remote,
            stage: if direction == Direction::Outbound { Stage::Dialing } else { Stage::Greeting },
            incarnation: None,
            dial: None,
            another: false,
            beside: false,
            admitted_by_peer: false,
            told: false,
            deadline: None,
            probe: None,
            up_since: None,
        };
        self.connections.insert(id, fresh);
        self.by_peer.entry(peer).or_default().insert(id);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let gone = self.connections.remove(&id)?;
        if let Some(ids) = self.by_peer.get_mut(&gone.peer) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_peer.remove(&gone.peer);
                self.seniority.remove(&gone.peer);
            }
        }
        Some(gone)
    }

    /// When a drain that this side began is cut short.
    fn drain_deadline(now: Duration, initiator: bool) -> Option<Duration> {
        // The other side closes; this deadline is only for one that does not.
        Some(now + if initiator { DRAIN_TIMEOUT } else { 2 * DRAIN_TIMEOUT })
    }
}
