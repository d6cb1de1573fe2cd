//! Starts the dials that the state decides on and feeds it what comes of them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until};

use super::book::{Book, Learned};
use super::errands::Errands;
use super::notes::{News, Notes};
use super::state::{Action, Event, Failure, Outcome, State};
use super::{Command, MAX_WATCHED, Reach, RetryPolicy, SharedBook, WatchError, WatchedPeer};
use crate::connection::{ConnectionId, DialFailure, Level, Route};
use crate::peer::{PeerAddr, PeerId};
use crate::runtime::Runtime;

/// How often what the notifications said is compared with who is connected.
const LOOK: Duration = Duration::from_secs(5);

/// What came of a task.
#[derive(Debug)]
enum Done {
    Dialed(PeerId, u64, Outcome),
    Looked(Vec<PeerId>),
    Ranked,
}

/// What a task is for, to be known when it breaks.
#[derive(Debug, Clone, Copy)]
enum Task {
    Dial(PeerId, u64),
    Look,
    Rank,
}

enum Input {
    Command(Command),
    Notes,
    Done(Result<(Id, Done), JoinError>),
    Look,
    Due,
}

pub(super) struct Actor<R> {
    reach: R,
    state: State,
    next_address: Duration,
    runtime: Runtime,
    notes: Arc<Notes>,
    book: Arc<SharedBook>,
    started: Instant,
    tasks: JoinSet<Done>,
    under_way: HashMap<Id, Task>,
    /// Takes further addresses for the attempt under way, which the number names.
    routes: BTreeMap<PeerId, (u64, mpsc::Sender<SocketAddr>)>,
    errands: Errands,
}

impl<R: Reach> Actor<R> {
    pub(super) fn new(
        reach: R,
        policy: RetryPolicy,
        runtime: Runtime,
        notes: Arc<Notes>,
        book: Arc<SharedBook>,
    ) -> Self {
        Self {
            reach,
            next_address: policy.next_address,
            state: State::new(policy),
            runtime,
            notes,
            book,
            started: Instant::now(),
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            routes: BTreeMap::new(),
            errands: Errands::default(),
        }
    }

    /// Runs until all handles are dropped; dropping the future stops everything at once.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.state.deadline().map(|at| self.started + at);
            // In this order, so that a run can be repeated.
            let input = tokio::select! {
                biased;
                _ = look.tick() => Input::Look,
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => Input::Due,
                () = self.notes.more.notified() => Input::Notes,
                Some(done) = self.tasks.join_next_with_id() => Input::Done(done),
                command = commands.recv() => match command {
                    Some(command) => Input::Command(command),
                    None => return,
                },
            };
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Command(command) => self.command(command),
            Input::Notes => self.take_notes(),
            Input::Done(Ok((id, done))) => {
                self.under_way.remove(&id);
                self.done(done);
            }
            Input::Done(Err(error)) => self.broke(&error),
            Input::Look => {
                self.look();
                // Here is also where a ranking that broke has its next turn.
                self.rank_next();
            }
            Input::Due => self.decide(Event::Tick),
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Dialed(peer, attempt, outcome) => self.dialed(peer, attempt, outcome),
            Done::Looked(connected) => {
                if self.errands.looked() {
                    self.decide(Event::Look { connected: connected.into_iter().collect() });
                }
            }
            Done::Ranked => {
                self.errands.ranked();
                self.rank_next();
            }
        }
    }

    /// A task that broke has ended all the same: what it was for goes on, or its peer would never be dialed again.
    fn broke(&mut self, error: &JoinError) {
        let task = self.under_way.remove(&error.id());
        tracing::error!(?task, %error, "a task of the supervisor broke");
        match task {
            Some(Task::Dial(peer, attempt)) => {
                let text = format!("the dial broke: {error}");
                self.dialed(peer, attempt, Outcome::Failed { why: Failure::Broken, text, tried: Vec::new() });
            }
            Some(Task::Look) => self.errands.look_broke(),
            Some(Task::Rank) => self.errands.rank_broke(),
            None => {}
        }
    }

    fn start(&mut self, task: Task, run: impl Future<Output = Done> + Send + 'static) {
        let handle = self.tasks.spawn(run);
        self.under_way.insert(handle.id(), task);
    }

    fn decide(&mut self, event: Event) {
        let actions = self.state.handle(event, self.started.elapsed(), self.runtime.entropy.number());
        for action in actions {
            match action {
                Action::Dial { peer, attempt, addresses } => self.dial(peer, attempt, addresses),
                Action::Also { to } => {
                    // When the attempt has ended meanwhile, the state learns from its outcome that this is untried.
                    let route = self.routes.get(&to.peer);
                    let taken = route.is_some_and(|(_, more)| more.try_send(to.address).is_ok());
                    tracing::debug!(%to, taken, "a new address for the attempt under way");
                }
            }
        }
    }

    fn dial(&mut self, peer: PeerId, attempt: u64, addresses: Vec<SocketAddr>) {
        tracing::debug!(%peer, attempt, ?addresses, "an attempt to connect begins");
        let (route, more) = Route::new(peer, addresses).next_after(self.next_address).open();
        self.routes.insert(peer, (attempt, more));
        let reach = self.reach.clone();
        let dial = async move { Done::Dialed(peer, attempt, outcome(reach.dial(route).await)) };
        self.start(Task::Dial(peer, attempt), dial);
    }

    fn dialed(&mut self, peer: PeerId, attempt: u64, outcome: Outcome) {
        self.errands.changed();
        if self.routes.get(&peer).is_some_and(|(number, _)| *number == attempt) {
            self.routes.remove(&peer);
        }
        let failed = match &outcome {
            Outcome::Connected => None,
            Outcome::Failed { why, text, .. } => Some((*why, text.clone())),
        };
        self.decide(Event::Dialed { peer, attempt, outcome });
        let Some((why, text)) = failed else { return };
        let now = self.started.elapsed();
        let next = self.state.watched.get(&peer).and_then(|watched| watched.next);
        let again_in = next.map(|at| at.saturating_sub(now));
        match why {
            Failure::WrongKey => tracing::warn!(%peer, reason = %text, ?again_in, "another key answers for a peer"),
            _ => tracing::debug!(%peer, reason = %text, ?again_in, "failed to connect"),
        }
    }

    fn take_notes(&mut self) {
        self.errands.changed();
        for (peer, News { notes, place }) in self.notes.take() {
            self.decide(Event::News { peer, notes });
            let Some(place) = place else { continue };
            if let Some(address) = place.dialed {
                self.decide(Event::Worked { to: PeerAddr { peer, address } });
            }
            if let Some((signed, record)) = place.record {
                let now = self.runtime.clock.unix_ms();
                let is_wanted = |peer: &PeerId| self.state.watched.get(peer).is_some_and(|watched| watched.necessary);
                let learn = |book: &mut Book| book.learn(signed, record, place.seen, now, is_wanted);
                if self.book.edit(learn) == Learned::New {
                    let addresses = self.book.addresses(&peer, now);
                    tracing::debug!(%peer, ?addresses, "the peer says where it is");
                    self.decide(Event::Learned { peer, addresses });
                }
            }
        }
    }

    fn look(&mut self) {
        if self.errands.begin_look() {
            let reach = self.reach.clone();
            self.start(Task::Look, async move { Done::Looked(reach.connected().await) });
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add { to, necessary, reply } => drop(reply.send(self.add(to, necessary))),
            Command::Remove { peer, reply } => {
                let known = self.state.watched.contains_key(&peer);
                self.book.edit(|book| book.forget(&peer));
                self.decide(Event::Remove { peer });
                self.rank(peer, Level::Ordinary);
                let _ = reply.send(known);
            }
            Command::Peers { reply } => drop(reply.send(self.peers())),
            Command::Stats { reply } => drop(reply.send(self.state.stats)),
        }
    }

    fn add(&mut self, to: PeerAddr, necessary: bool) -> Result<(), WatchError> {
        if !self.state.watched.contains_key(&to.peer) && self.state.watched.len() >= MAX_WATCHED {
            return Err(WatchError::TooMany);
        }
        let was = self.state.watched.get(&to.peer).is_some_and(|watched| watched.necessary);
        if necessary || was {
            self.rank(to.peer, if necessary { Level::Necessary } else { Level::Ordinary });
        }
        let record = self.book.addresses(&to.peer, self.runtime.clock.unix_ms());
        self.decide(Event::Add { to, necessary, record });
        Ok(())
    }

    /// One rank after the other, and the last word about a peer counts.
    fn rank(&mut self, peer: PeerId, level: Level) {
        self.errands.rank(peer, level);
        self.rank_next();
    }

    fn rank_next(&mut self) {
        let Some((peer, level)) = self.errands.next_rank() else { return };
        let reach = self.reach.clone();
        self.start(Task::Rank, async move {
            reach.set_level(peer, level).await;
            Done::Ranked
        });
    }

    fn peers(&self) -> Vec<WatchedPeer> {
        let now = self.started.elapsed();
        let watched = self.state.watched.iter().map(|(peer, watched)| WatchedPeer {
            peer: *peer,
            addresses: watched.addresses.known(),
            necessary: watched.necessary,
            connected: self.state.connected.contains_key(peer),
            dialing: watched.attempt.is_some(),
            failures: watched.failures,
            next_attempt: watched.next.map(|at| at.saturating_sub(now)),
            last_error: watched.last_error.clone(),
        });
        watched.collect()
    }
}

fn outcome(result: Result<ConnectionId, DialFailure>) -> Outcome {
    let failure = match result {
        Ok(_) | Err(DialFailure::AlreadyConnected) => return Outcome::Connected,
        Err(failure) => failure,
    };
    let (text, mut tried) = (failure.to_string(), Vec::new());
    let is_wrong = |failure: &DialFailure| matches!(failure, DialFailure::WrongPeer { .. });
    let why = match failure {
        DialFailure::Stopping | DialFailure::NotAdmitted { .. } | DialFailure::Refused { .. } => Failure::Refused,
        DialFailure::Addresses(each) => {
            tried = each.iter().map(|(address, _)| *address).collect();
            if each.iter().any(|(_, failure)| is_wrong(failure)) { Failure::WrongKey } else { Failure::Unreachable }
        }
        other if is_wrong(&other) => Failure::WrongKey,
        _ => Failure::Unreachable,
    };
    Outcome::Failed { why, text, tried }
}
