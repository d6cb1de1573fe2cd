//! Starts the dials that the state decides on and feeds it what comes of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::state::{Event, Outcome, RetryPolicy, State};
use super::{Command, MAX_WATCHED, Note, Notes, Reach, WatchError, WatchedPeer};
use crate::connection::{ConnectionId, DialFailure, Level};
use crate::peer::{PeerAddr, PeerId};
use crate::runtime::Entropy;

/// How often what the notifications said is compared with who is connected.
const LOOK: Duration = Duration::from_secs(5);

/// What came of a task.
#[derive(Debug)]
enum Done {
    Dialed(PeerAddr, Outcome),
    Looked(Vec<PeerId>),
    Ranked,
}

enum Input {
    Command(Command),
    Notes,
    Done(Done),
    Look,
    Due,
    Broken,
}

pub(super) struct Actor<R> {
    reach: R,
    state: State,
    entropy: Arc<dyn Entropy>,
    notes: Arc<Notes>,
    started: Instant,
    tasks: JoinSet<Done>,
    looking: bool,
    /// Something came since the look began, so what it saw may be old.
    stale: bool,
}

impl<R: Reach> Actor<R> {
    pub(super) fn new(reach: R, policy: RetryPolicy, entropy: Arc<dyn Entropy>, notes: Arc<Notes>) -> Self {
        let state = State::new(policy);
        let (started, tasks) = (Instant::now(), JoinSet::new());
        Self { reach, state, entropy, notes, started, tasks, looking: false, stale: false }
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
                Some(done) = self.tasks.join_next() => done.map_or(Input::Broken, Input::Done),
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
            Input::Done(Done::Dialed(to, outcome)) => {
                self.stale = true;
                self.decide(Event::Dialed { to, outcome });
            }
            Input::Done(Done::Looked(connected)) => {
                self.looking = false;
                if !self.stale {
                    self.decide(Event::Look { connected: connected.into_iter().collect() });
                }
            }
            Input::Done(Done::Ranked) => {}
            Input::Look => self.look(),
            Input::Due => self.decide(Event::Tick),
            Input::Broken => tracing::error!("a task of the supervisor broke"),
        }
    }

    fn decide(&mut self, event: Event) {
        let dials = self.state.handle(event, self.started.elapsed(), self.entropy.number());
        for to in dials {
            let reach = self.reach.clone();
            self.tasks.spawn(async move { Done::Dialed(to, outcome(to, reach.dial(to).await)) });
        }
    }

    fn take_notes(&mut self) {
        self.stale = true;
        for (peer, note) in self.notes.take() {
            match note {
                Note::Up => self.decide(Event::Up { peer }),
                Note::Down { refused } => self.decide(Event::Down { peer, refused }),
                Note::Again => self.decide(Event::Again { peer }),
            }
        }
    }

    fn look(&mut self) {
        if !std::mem::replace(&mut self.looking, true) {
            self.stale = false;
            let reach = self.reach.clone();
            self.tasks.spawn(async move { Done::Looked(reach.connected().await) });
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add { to, necessary, reply } => drop(reply.send(self.add(to, necessary))),
            Command::Remove { peer, reply } => {
                let known = self.state.watched.contains_key(&peer);
                self.decide(Event::Remove { peer });
                self.rank(peer, Level::Ordinary);
                let _ = reply.send(known);
            }
            Command::Peers { reply } => drop(reply.send(self.peers())),
        }
    }

    fn add(&mut self, to: PeerAddr, necessary: bool) -> Result<(), WatchError> {
        if !self.state.watched.contains_key(&to.peer) && self.state.watched.len() >= MAX_WATCHED {
            return Err(WatchError::TooMany);
        }
        if necessary {
            self.rank(to.peer, Level::Necessary);
        }
        self.decide(Event::Add { to, necessary });
        Ok(())
    }

    fn rank(&mut self, peer: PeerId, level: Level) {
        let reach = self.reach.clone();
        self.tasks.spawn(async move {
            reach.set_level(peer, level).await;
            Done::Ranked
        });
    }

    fn peers(&self) -> Vec<WatchedPeer> {
        let now = self.started.elapsed();
        let watched = self.state.watched.iter().map(|(peer, watched)| WatchedPeer {
            peer: *peer,
            addresses: watched.addresses.clone(),
            necessary: watched.necessary,
            connected: self.state.connected.contains_key(peer),
            dialing: watched.dialing.is_some(),
            failures: watched.failures,
            next_attempt: watched.next.map(|at| at.saturating_sub(now)),
            last_error: watched.last_error.clone(),
        });
        watched.collect()
    }
}

fn outcome(to: PeerAddr, result: Result<ConnectionId, DialFailure>) -> Outcome {
    let failure = match result {
        Ok(_) | Err(DialFailure::AlreadyConnected) => return Outcome::Connected,
        Err(failure) => failure,
    };
    let text = format!("{}: {failure}", to.address);
    match failure {
        DialFailure::Stopping | DialFailure::NotAdmitted { .. } | DialFailure::Refused { .. } => Outcome::Refused(text),
        _ => Outcome::Unreachable(text),
    }
}
