//! Carries out what the state decides: dials, tasks, control messages, news for the layers above.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, Span};

use super::manager::{Command, DialReply, Shared};
use super::room::Room;
use super::route::Route;
use super::state::{Action, Event, State};
use super::task::{Conversation, Greeted, Report};
use super::teller::Teller;
use super::{ConnectionEvent, ConnectionHandle, ConnectionId, ControlSender, DialFailure};
use crate::peer::PeerId;
use crate::transport::{AccessLists, Direction, Incoming, Link, LinkError, Transport};
use crate::wire::{CloseCode, Control, Hello};

mod dials;
mod survey;

/// Reports that may wait for the actor; a task that finds it full waits, and so its peer does.
const REPORT_QUEUE: usize = 256;
/// Control messages beside the two that every stream may need at once (its end, and progress or abandon): pushes,
/// pings, the hello.
const CONTROL_RESERVE: usize = 64;

/// A connection from the end of its handshake on.
#[derive(Debug)]
struct Live {
    handle: ConnectionHandle,
    link: Option<Link>,
    greeted: Option<Box<Greeted>>,
    told: Option<oneshot::Sender<()>>,
    /// Where the peer's packets came from when the state was told last.
    remote: SocketAddr,
    /// Where the peer's hello says that it listens.
    listens: Option<SocketAddr>,
}

/// What the loop waits for.
#[derive(Debug)]
enum Input {
    Report(Report),
    Command(Option<Command>),
    Dialed(Result<(Id, DialOutcome), JoinError>),
    TaskEnded(Result<(Id, ()), JoinError>),
    Room(Option<OwnedPermit<ConnectionEvent>>),
    Incoming(Option<Link>),
    Moved,
    Due,
}

type DialOutcome = (ConnectionId, Result<Link, DialFailure>);

#[derive(Debug)]
struct Stopping {
    until: Instant,
    replies: Vec<oneshot::Sender<()>>,
}

pub(super) struct Actor {
    shared: Arc<Shared>,
    transport: Transport,
    /// Where the layers above are told.
    above: Room<ConnectionEvent>,
    state: State,
    started: Instant,
    last_id: u64,
    live: BTreeMap<ConnectionId, Live>,
    teller: Teller,
    /// Where the dial that is being decided about leads.
    target: Option<Route>,
    waiting: BTreeMap<PeerId, Vec<DialReply>>,
    /// Where each peer was dialed last. Kept while the peer has a connection or is being dialed.
    dialed: BTreeMap<PeerId, SocketAddr>,
    dials: JoinSet<DialOutcome>,
    dial_tasks: HashMap<ConnectionId, (AbortHandle, Span)>,
    tasks: JoinSet<()>,
    task_names: HashMap<Id, ConnectionId>,
    reports: mpsc::Sender<Report>,
    reported: mpsc::Receiver<Report>,
    stopping: Option<Stopping>,
}

/// Around everything that is done for one connection, from its dial or handshake to its last stream.
fn span(connection: ConnectionId, peer: &PeerId, direction: Direction) -> Span {
    tracing::info_span!("connection", id = connection.0, peer = %peer.short(), ?direction)
}

impl Actor {
    pub(super) fn new(shared: Arc<Shared>, transport: Transport, events: mpsc::Sender<ConnectionEvent>) -> Self {
        let (reports, reported) = mpsc::channel(REPORT_QUEUE);
        Self {
            state: State::new(
                transport.peer_id(),
                shared.config.limits.clone(),
                AccessLists::clone(&transport.access().lists()),
                shared.seed,
            ),
            shared,
            transport,
            above: Room::in_queue(events),
            started: Instant::now(),
            last_id: 0,
            live: BTreeMap::new(),
            teller: Teller::default(),
            target: None,
            waiting: BTreeMap::new(),
            dialed: BTreeMap::new(),
            dials: JoinSet::new(),
            dial_tasks: HashMap::new(),
            tasks: JoinSet::new(),
            task_names: HashMap::new(),
            reports,
            reported,
            stopping: None,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut incoming: Incoming) {
        let mut accepting = true;
        while !self.is_done() {
            if self.teller.is_empty() {
                self.above.leave();
            }
            let due = self.due();
            // In this order, so that a run can be repeated, and what peers can send most of comes last.
            let input = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => Input::Due,
                command = commands.recv() => Input::Command(command),
                Some(dialed) = self.dials.join_next_with_id() => Input::Dialed(dialed),
                Some(ended) = self.tasks.join_next_with_id() => Input::TaskEnded(ended),
                room = self.above.reserve(), if !self.teller.is_empty() => Input::Room(room),
                link = incoming.accept(), if accepting => Input::Incoming(link),
                () = self.transport.moved() => Input::Moved,
                Some(report) = self.reported.recv() => Input::Report(report),
            };
            accepting &= !matches!(input, Input::Incoming(None));
            if matches!(input, Input::Command(None)) {
                break;
            }
            self.take(input);
        }
        self.end();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Report(Report::Event(Event::Closed { connection, cause })) => self.forget(connection, cause),
            Input::Report(Report::Event(event)) => self.decide(event),
            Input::Report(Report::Greeted { connection, greeted }) => self.greeted(connection, greeted),
            Input::Command(Some(command)) => self.command(command),
            Input::Command(None) => {}
            Input::Dialed(Ok((_, (connection, outcome)))) => self.dialed(connection, outcome),
            Input::Dialed(Err(error)) => self.dial_broke(&error),
            Input::TaskEnded(ended) => self.task_ended(ended),
            Input::Room(Some(permit)) => self.tell(permit),
            // Nobody is above any more.
            Input::Room(None) => self.teller.clear(),
            Input::Incoming(Some(link)) => {
                let connection = self.name();
                let span = span(connection, &link.peer, link.direction);
                self.linked(connection, link, span);
            }
            Input::Incoming(None) => {}
            Input::Moved => self.moved(),
            Input::Due => self.decide(Event::Tick),
        }
    }

    fn name(&mut self) -> ConnectionId {
        self.last_id += 1;
        ConnectionId(self.last_id)
    }

    fn due(&self) -> Option<Instant> {
        let decision = self.state.deadline().map(|at| self.started + at);
        decision.into_iter().chain(self.stopping.as_ref().map(|s| s.until)).min()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn decide(&mut self, event: Event) {
        tracing::trace!(?event, "deciding");
        let actions = self.state.handle(event, self.now());
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        tracing::trace!(?action, "doing");
        match action {
            Action::Dial { connection } => self.dial(connection),
            Action::CancelDial { connection } => {
                if let Some((task, _)) = self.dial_tasks.remove(&connection) {
                    task.abort();
                }
            }
            Action::Greet { connection, dial, beside } => self.greet(connection, dial, beside),
            Action::Send { connection, message } => self.send(connection, message),
            Action::TurnAway { connection, code } | Action::Close { connection, code } => self.close(connection, code),
            Action::Up { connection } => self.up(connection),
            Action::Draining { connection } => {
                if let Some(live) = self.live.get(&connection) {
                    self.teller.draining(connection, live.handle.peer);
                }
            }
            Action::Down { connection, cause } => self.down(connection, cause),
            Action::DialDone { peer, result } => {
                for reply in self.waiting.remove(&peer).into_iter().flatten() {
                    let _ = reply.send(result.clone());
                }
            }
        }
    }

    fn linked(&mut self, connection: ConnectionId, link: Link, span: Span) {
        let (queue, queued) = mpsc::channel(1);
        drop(queued);
        let handle = ConnectionHandle {
            id: connection,
            peer: link.peer,
            direction: link.direction,
            control: ControlSender::new(queue, link.handle.clone()),
            link: link.handle.clone(),
            span,
            drained: Arc::new(Notify::new()),
        };
        let (peer, direction) = (link.peer, link.direction);
        // Without an address no list can be asked.
        let remote = match link.handle.remote_address() {
            Ok(remote) => remote,
            Err(cause) => return self.decide(Event::DialFailed { connection, failure: cause.into() }),
        };
        if direction == Direction::Outbound {
            self.dialed.insert(peer, remote);
        }
        let live = Live { handle, link: Some(link), greeted: None, told: None, remote, listens: None };
        self.live.insert(connection, live);
        self.decide(Event::Linked { connection, peer, direction, remote });
    }

    /// Asks all links where their peers are now: of a storm of migrations only the last is seen, which is enough.
    fn moved(&mut self) {
        let mut moved = Vec::new();
        for (connection, live) in &mut self.live {
            let remote = live.handle.link.remote_address().unwrap_or(live.remote);
            if std::mem::replace(&mut live.remote, remote) != remote {
                moved.push((*connection, remote));
            }
        }
        for (connection, remote) in moved {
            self.decide(Event::Moved { connection, remote });
        }
    }

    /// Starts the conversation.
    fn greet(&mut self, connection: ConnectionId, dial: u64, beside: bool) {
        let Some(live) = self.live.get_mut(&connection) else { return };
        let Some(Link { peer, direction, handle: link, acceptor }) = live.link.take() else { return };
        let capacity = 2 * self.shared.config.max_streams as usize + CONTROL_RESERVE;
        let (queue, queued) = mpsc::channel(capacity);
        live.handle.control = ControlSender::new(queue.clone(), link.clone());
        let (told, when_told) = oneshot::channel();
        live.told = Some(told);
        let conversation = Conversation {
            id: connection,
            peer,
            direction,
            dial,
            beside,
            link,
            queue,
            reports: self.reports.clone(),
            events: self.above.queue(),
            told: when_told,
            drained: live.handle.drained.clone(),
            shared: self.shared.clone(),
        };
        let span = live.handle.span.clone();
        let task = self.tasks.spawn(conversation.run(acceptor, queued).instrument(span));
        self.task_names.insert(task.id(), connection);
    }

    fn greeted(&mut self, connection: ConnectionId, greeted: Box<Greeted>) {
        let Hello { incarnation, dial, beside, .. } = greeted.hello;
        if let Some(live) = self.live.get_mut(&connection) {
            live.listens = greeted.address.as_ref().and_then(|record| record.addresses.first().copied());
            live.greeted = Some(greeted);
            self.decide(Event::Hello { connection, incarnation, dial, beside });
        }
    }

    /// A task that ended well has reported so; one that broke must not leave its connection behind.
    fn task_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let name = self.task_names.remove(&id);
        if let (Some(connection), Err(error)) = (name, ended) {
            self.close(connection, CloseCode::Normal);
            let cause = LinkError::Transport(format!("the task of the connection broke: {error}"));
            self.forget(connection, cause);
        }
    }

    fn send(&mut self, connection: ConnectionId, message: Control) {
        if let Some(live) = self.live.get(&connection) {
            live.handle.control.send(message);
        }
    }

    fn close(&mut self, connection: ConnectionId, code: CloseCode) {
        let Some(live) = self.live.get_mut(&connection) else { return };
        live.handle.link.close(code);
        // Its task may hold bytes for layers that will never be told, and would wait for that instead of its end.
        live.told = None;
        if live.link.is_some() {
            // It has no task that would report its end, and the state has forgotten it.
            self.live.remove(&connection);
        }
    }

    fn up(&mut self, connection: ConnectionId) {
        let Some(live) = self.live.get_mut(&connection) else { return };
        let (Some(greeted), Some(told)) = (live.greeted.take(), live.told.take()) else { return };
        let (peer, direction) = (live.handle.peer, live.handle.direction);
        tracing::info!(%peer, ?direction, connection = connection.0, "connected");
        self.teller.up(live.handle.clone(), greeted, told);
    }

    fn down(&mut self, connection: ConnectionId, cause: LinkError) {
        if let Some(live) = self.live.get(&connection) {
            tracing::info!(peer = %live.handle.peer, connection = connection.0, %cause, "disconnected");
            self.teller.down(connection, live.handle.peer, cause);
        }
    }

    fn forget(&mut self, connection: ConnectionId, cause: LinkError) {
        self.decide(Event::Closed { connection, cause });
        self.live.remove(&connection);
        self.forget_addresses();
    }

    fn tell(&mut self, permit: OwnedPermit<ConnectionEvent>) {
        if let Some((event, told)) = self.teller.next() {
            permit.send(event);
            if let Some(told) = told {
                let _ = told.send(());
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Dial { route, reply } => self.dial_requested(route, false, reply),
            Command::DialAnother { peer, reply } => match self.address_of(&peer) {
                Ok(address) => self.dial_requested(Route::new(peer, [address]), true, reply),
                Err(failure) => drop(reply.send(Err(failure))),
            },
            Command::Access { lists, reply } => {
                let denied = self.state.counts.denied;
                // First of all, or one more could slip in between.
                self.transport.access().replace(lists.clone());
                self.decide(Event::Access { lists });
                let _ = reply.send((self.state.counts.denied - denied) as usize);
            }
            Command::Close { peer, code } => self.decide(Event::CloseRequested { peer, code }),
            Command::GiveUp { connection } => self.decide(Event::GiveUp { connection }),
            Command::SetLevel { peer, level } => self.decide(Event::SetLevel { peer, level }),
            Command::Peers { reply } => drop(reply.send(self.peers())),
            Command::Status { reply } => drop(reply.send(self.status())),
            Command::Shutdown { until, reply } => self.shutdown(until, reply),
        }
    }

    fn shutdown(&mut self, until: Instant, reply: oneshot::Sender<()>) {
        let stopping = self.stopping.get_or_insert_with(|| Stopping { until, replies: Vec::new() });
        stopping.until = stopping.until.min(until);
        stopping.replies.push(reply);
        self.decide(Event::Shutdown);
    }

    fn is_done(&self) -> bool {
        let gone = || self.state.connections.is_empty() && self.teller.is_empty();
        self.stopping.as_ref().is_some_and(|stopping| gone() || stopping.until <= Instant::now())
    }

    /// Closes what is left; the tasks end with the actor.
    fn end(self) {
        for live in self.live.values() {
            live.handle.link.close(CloseCode::Shutdown);
        }
        for reply in self.stopping.into_iter().flat_map(|stopping| stopping.replies) {
            let _ = reply.send(());
        }
    }
}
