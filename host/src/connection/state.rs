//! Who is connected: decides about every connection, from its dial or handshake to its end. Pure.
//!
//! The shell feeds [`Event`]s with the time since the node's start and carries out the [`Action`]s in order. It
//! calls [`State::handle`] with [`Event::Tick`] at [`State::deadline`].
//!
//! Invariants:
//! - At most one connection per peer is up (told to the layers above) at any time.
//! - The place of a peer is taken in the same step that decides to admit it, so no two newcomers can both pass
//!   the last free place: peers in `Answered`, `Ready` or `Up` never exceed `max_peers`.
//! - Every connection that is not up has a deadline. So no connection, and no dial, can wait for ever.
//! - A dial ends exactly once, by [`Action::DialDone`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::limits::{ConnectionLimits, DRAIN_TIMEOUT, HELLO_TIMEOUT, MAX_PENDING_OF_PEER};
use super::{ConnectionId, DialFailure, Level};
use crate::peer::PeerId;
use crate::transport::{Direction, LinkError};
use crate::wire::{CloseCode, Control};

#[path = "admission.rs"]
mod admission;
#[path = "closing.rs"]
mod closing;
#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody wants to be connected to `peer`; `connection` is a fresh name for the dial.
    DialRequested { connection: ConnectionId, peer: PeerId },
    /// The handshake of a dial failed.
    DialFailed { connection: ConnectionId, failure: DialFailure },
    /// A handshake is done; the peer is proven.
    Linked { connection: ConnectionId, peer: PeerId, direction: Direction },
    /// The peer's hello came; its version is ours.
    Hello { connection: ConnectionId, incarnation: u64, dial: u64 },
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
    /// The operator or the supervisor ranks a peer.
    SetLevel { peer: PeerId, level: Level },
    /// All connections of a peer are wanted no more.
    CloseRequested { peer: PeerId, code: CloseCode },
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
    Greet { connection: ConnectionId, dial: u64 },
    /// Queue a control message.
    Send { connection: ConnectionId, message: Control },
    /// Close at once one that was never greeted, because there is no place to wait in; the reason is for people.
    TurnAway { connection: ConnectionId, reason: String },
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
    pub(super) stage: Stage,
    /// The peer's incarnation, once its hello came.
    pub(super) incarnation: Option<u64>,
    /// The dial counter of the side that dialed; of an inbound one once the hello came.
    dial: Option<u64>,
    /// The peer said `Admitted`, maybe before this side decided.
    admitted_by_peer: bool,
    /// The layers above were told of it.
    pub(super) told: bool,
    /// Order of admission: the newest is the greatest.
    admission: u64,
    deadline: Option<Duration>,
    /// An older connection that must prove that it is alive: the number of the ping and its deadline.
    probe: Option<(u64, Duration)>,
    /// Since when it is up.
    pub(super) up_since: Option<Duration>,
}

impl Connection {
    /// Holds one of the node's places.
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
}

/// What was decided since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that were admitted by both sides.
    pub admitted: u64,
    /// Connections that this side refused.
    pub refused: u64,
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
    /// Peers somebody waits to be connected to.
    dials: BTreeSet<PeerId>,
    pub(super) counts: ConnectionCounts,
    last_dial: u64,
    last_admission: u64,
    last_probe: u64,
    stopping: bool,
    actions: Vec<Action>,
}

impl State {
    pub(super) fn new(me: PeerId, limits: ConnectionLimits) -> Self {
        Self {
            me,
            limits,
            connections: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            necessary: BTreeSet::new(),
            dials: BTreeSet::new(),
            counts: ConnectionCounts::default(),
            last_dial: 0,
            last_admission: 0,
            last_probe: 0,
            stopping: false,
            actions: Vec::new(),
        }
    }

    /// Decides. `now` never goes back.
    pub(super) fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::DialRequested { connection, peer } => self.dial_requested(connection, peer),
            Event::DialFailed { connection, failure } => self.dial_failed(connection, failure),
            Event::Linked { connection, peer, direction } => self.linked(connection, peer, direction, now),
            Event::Hello { connection, incarnation, dial } => self.hello(connection, incarnation, dial, now),
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
            Event::SetLevel { peer, level } => self.set_level(peer, level),
            Event::CloseRequested { peer, code } => self.close_peer(peer, code, now),
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

    /// Peers that hold a place.
    pub(super) fn places_taken(&self) -> usize {
        self.by_peer.values().filter(|ids| ids.iter().any(|id| self.connections[id].holds_place())).count()
    }

    /// Dials that are not answered yet.
    pub(super) fn dials(&self) -> usize {
        self.dials.len()
    }

    fn set_level(&mut self, peer: PeerId, level: Level) {
        match level {
            Level::Necessary => self.necessary.insert(peer),
            Level::Ordinary => self.necessary.remove(&peer),
        };
    }

    fn dial_requested(&mut self, connection: ConnectionId, peer: PeerId) {
        let (mut up, mut coming) = (false, false);
        for other in self.of(&peer).filter_map(|id| self.connections.get(&id)) {
            up |= other.stage == Stage::Up;
            coming |= other.holds_place() || (other.direction == Direction::Outbound && other.is_hopeful());
        }
        if let Some(failure) = self.dial_refusal(peer, up) {
            self.actions.push(Action::DialDone { peer, result: Err(failure) });
            return;
        }
        // A second wish for the same peer, or one whose peer is about to be admitted, waits with the first.
        self.dials.insert(peer);
        if !coming {
            self.last_dial += 1;
            let dial = self.last_dial;
            self.insert(connection, peer, Direction::Outbound, Stage::Dialing, None);
            self.edit(connection, |c| c.dial = Some(dial));
            self.actions.push(Action::Dial { connection });
        }
    }

    fn dial_refusal(&self, peer: PeerId, up: bool) -> Option<DialFailure> {
        if self.stopping {
            Some(DialFailure::Stopping)
        } else if peer == self.me {
            Some(DialFailure::local(CloseCode::SelfDial))
        } else {
            up.then_some(DialFailure::AlreadyConnected)
        }
    }

    fn dial_failed(&mut self, connection: ConnectionId, failure: DialFailure) {
        if let Some(gone) = self.remove(connection) {
            self.dial_ended(gone.peer, failure);
        }
    }

    /// One way to the peer has failed: whoever dialed it hears of it unless another one may still succeed.
    fn dial_ended(&mut self, peer: PeerId, failure: DialFailure) {
        let another = self.of(&peer).any(|id| self.connections[&id].is_hopeful());
        if !another && self.dials.remove(&peer) {
            self.actions.push(Action::DialDone { peer, result: Err(failure) });
        }
    }

    fn linked(&mut self, connection: ConnectionId, peer: PeerId, direction: Direction, now: Duration) {
        let known = self.connections.get(&connection).is_some_and(|c| c.stage == Stage::Dialing);
        let refusal = match direction {
            Direction::Outbound if !known => Some(CloseCode::Normal),
            // The peer's own dial was faster, and this side has already answered it.
            Direction::Outbound if self.of(&peer).any(|id| self.connections[&id].holds_place()) => {
                Some(CloseCode::Duplicate)
            }
            Direction::Inbound if self.stopping => Some(CloseCode::Shutdown),
            Direction::Inbound if peer == self.me => Some(CloseCode::SelfDial),
            _ => None,
        };
        if direction == Direction::Inbound
            && refusal.is_none()
            && let Some(reason) = self.crowded(&peer)
        {
            self.counts.refused += 1;
            self.actions.push(Action::TurnAway { connection, reason });
            return;
        }
        if let Some(code) = refusal {
            self.counts.refused += 1;
            self.actions.push(Action::Close { connection, code });
            if self.remove(connection).is_some() {
                self.dial_ended(peer, DialFailure::local(code));
            }
            return;
        }
        if direction == Direction::Inbound {
            self.insert(connection, peer, direction, Stage::Greeting, None);
        }
        let mut dial = 0;
        self.edit(connection, |c| {
            dial = c.dial.unwrap_or(0);
            (c.stage, c.deadline) = (Stage::Greeting, Some(now + HELLO_TIMEOUT));
        });
        self.actions.push(Action::Greet { connection, dial });
    }

    /// Inbound connections that are not decided yet.
    pub(super) fn pending(&self) -> usize {
        self.connections.values().filter(|c| c.is_undecided()).count()
    }

    /// Why another inbound connection of `peer` may not even wait for a decision, if so.
    fn crowded(&self, peer: &PeerId) -> Option<String> {
        let (all, limit) = (self.pending(), self.limits.max_pending);
        let own = self.of(peer).filter(|id| self.connections[id].is_undecided()).count();
        if own >= MAX_PENDING_OF_PEER {
            Some(format!("peer has {own} of {MAX_PENDING_OF_PEER} undecided connections; it may dial again later"))
        } else {
            (all >= limit).then(|| format!("node has {all} of {limit} undecided connections; dial again later"))
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

    fn insert(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        direction: Direction,
        stage: Stage,
        deadline: Option<Duration>,
    ) {
        let fresh = Connection {
            peer,
            direction,
            stage,
            incarnation: None,
            dial: None,
            admitted_by_peer: false,
            told: false,
            admission: 0,
            deadline,
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
            }
        }
        Some(gone)
    }

    fn shutdown(&mut self, now: Duration) {
        self.stopping = true;
        let peers: Vec<PeerId> = self.by_peer.keys().copied().collect();
        for peer in peers {
            self.close_peer(peer, CloseCode::Shutdown, now);
        }
    }

    /// When a drain that this side began is cut short.
    fn drain_deadline(now: Duration, initiator: bool) -> Option<Duration> {
        // The other side closes; this deadline is only for one that does not.
        Some(now + if initiator { DRAIN_TIMEOUT } else { 2 * DRAIN_TIMEOUT })
    }
}
