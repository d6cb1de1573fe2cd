//! When to dial whom. Pure: the shell feeds events with the time and a random number, and starts the dials.
//!
//! Invariants:
//! - A peer has at most one dial under way, and none while it is connected.
//! - After a failure the next attempt comes no sooner than the interval of the failures in a row: a refusal is no
//!   hot loop. Only an attempt for an address just learned comes sooner.
//! - A necessary peer that is neither connected nor being dialed has a time for its next attempt: nothing is ever
//!   given up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::peer::{PeerAddr, PeerId};
use crate::wire::MAX_ADDRESSES;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

/// How retries are spaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest interval. The Fibonacci numbers pass a minute at the tenth failure.
    pub cap: Duration,
    /// How long a connection must have lived for the failures before it to be forgotten.
    pub settled: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { cap: Duration::from_secs(60), settled: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The wait after `failures` in a row: 1, 2, 3, 5, 8 … seconds up to the cap, and up to a fifth less or more,
    /// never above the cap. `random` is any number.
    pub(super) fn interval(&self, failures: u32, random: u64) -> Duration {
        let (mut wait, mut next) = (Duration::from_secs(1), Duration::from_secs(2));
        for _ in 1..failures {
            if wait >= self.cap {
                break;
            }
            (wait, next) = (next, wait + next);
        }
        let wait = wait.min(self.cap);
        let (low, high) = (wait * 4 / 5, (wait * 6 / 5).min(self.cap));
        let span = (high - low).as_nanos() as u64;
        low + Duration::from_nanos(random % (span + 1))
    }
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The peer is connected, by this dial or another.
    Connected,
    /// Not this address; another one may do.
    Unreachable(String),
    /// The peer itself said no, and would at every address.
    Refused(String),
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// An address of a peer, and whether to keep it connected.
    Add { to: PeerAddr, necessary: bool },
    /// Forget a peer.
    Remove { peer: PeerId },
    /// The peer has its first admitted connection.
    Up { peer: PeerId },
    /// The peer has lost its last one; `refused` names the reason when the peer or the node did not want it.
    Down { peer: PeerId, refused: Option<String> },
    /// The peer has lost its last connection and has a new one already.
    Again { peer: PeerId },
    /// A dial ended.
    Dialed { to: PeerAddr, outcome: Outcome },
    /// Who is connected, as the manager has it: puts right what a notification missed.
    Look { connected: BTreeSet<PeerId> },
    /// The time of an attempt may have come.
    Tick,
}

/// What is known of one peer.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) necessary: bool,
    /// Dials this attempt still has to make, in order.
    untried: Vec<SocketAddr>,
    pub(super) dialing: Option<SocketAddr>,
    pub(super) failures: u32,
    /// When the next attempt starts, if one shall.
    pub(super) next: Option<Duration>,
    pub(super) last_error: Option<String>,
}

/// All peers the supervisor knows.
#[derive(Debug)]
pub(super) struct State {
    policy: RetryPolicy,
    pub(super) watched: BTreeMap<PeerId, Watched>,
    /// Everybody who is connected, watched or not, and since when.
    pub(super) connected: BTreeMap<PeerId, Duration>,
}

impl State {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, watched: BTreeMap::new(), connected: BTreeMap::new() }
    }

    /// Decides; returns the dials to start. `now` never goes back.
    pub(super) fn handle(&mut self, event: Event, now: Duration, random: u64) -> Vec<PeerAddr> {
        match event {
            Event::Add { to, necessary } => self.add(to, necessary, now),
            Event::Remove { peer } => drop(self.watched.remove(&peer)),
            Event::Up { peer } => self.up(peer, now),
            Event::Down { peer, refused } => self.down(peer, refused, now, random),
            Event::Again { peer } => {
                self.connected.remove(&peer);
                self.up(peer, now);
            }
            Event::Dialed { to, outcome } => self.dialed(to, outcome, now, random),
            Event::Look { connected } => self.look(&connected, now, random),
            Event::Tick => {}
        }
        self.start_due(now)
    }

    /// When to call with [`Event::Tick`].
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.watched.values().filter_map(|watched| watched.next).min()
    }

    fn add(&mut self, to: PeerAddr, necessary: bool, now: Duration) {
        let idle = !self.connected.contains_key(&to.peer);
        let watched = self.watched.entry(to.peer).or_insert_with(|| Watched {
            addresses: Vec::new(),
            necessary: false,
            untried: Vec::new(),
            dialing: None,
            failures: 0,
            next: None,
            last_error: None,
        });
        let wanted_anew = necessary && !watched.necessary;
        watched.necessary |= necessary;
        let new = !watched.addresses.contains(&to.address);
        // The address named last is the likeliest to be right.
        watched.addresses.retain(|known| *known != to.address);
        watched.addresses.insert(0, to.address);
        watched.addresses.truncate(MAX_ADDRESSES);
        if watched.dialing.is_some() && new {
            watched.untried.insert(0, to.address);
        } else if watched.dialing.is_none() && idle && (new || wanted_anew || !watched.necessary) {
            watched.next = Some(now);
        }
    }

    fn up(&mut self, peer: PeerId, now: Duration) {
        self.connected.entry(peer).or_insert(now);
        if let Some(watched) = self.watched.get_mut(&peer) {
            (watched.next, watched.last_error) = (None, None);
            watched.untried.clear();
        }
    }

    fn down(&mut self, peer: PeerId, refused: Option<String>, now: Duration, random: u64) {
        let Some(since) = self.connected.remove(&peer) else { return };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        if now.saturating_sub(since) >= self.policy.settled {
            watched.failures = 0;
            if refused.is_none() {
                watched.next = (watched.necessary && watched.dialing.is_none()).then_some(now);
                return;
            }
        }
        let text = refused.unwrap_or_else(|| "disconnected soon after it was admitted".into());
        watched.fail(text, &self.policy, now, random);
    }

    fn dialed(&mut self, to: PeerAddr, outcome: Outcome, now: Duration, random: u64) {
        let connected = self.connected.contains_key(&to.peer);
        let Some(watched) = self.watched.get_mut(&to.peer).filter(|w| w.dialing == Some(to.address)) else { return };
        watched.dialing = None;
        match outcome {
            _ if connected => {}
            Outcome::Connected => self.up(to.peer, now),
            Outcome::Unreachable(text) if !watched.untried.is_empty() => {
                (watched.last_error, watched.next) = (Some(text), Some(now));
            }
            Outcome::Unreachable(text) | Outcome::Refused(text) => watched.fail(text, &self.policy, now, random),
        }
    }

    fn look(&mut self, connected: &BTreeSet<PeerId>, now: Duration, random: u64) {
        for peer in connected {
            if !self.connected.contains_key(peer) {
                self.up(*peer, now);
            }
        }
        let missed: Vec<PeerId> = self.connected.keys().filter(|peer| !connected.contains(*peer)).copied().collect();
        for peer in missed {
            self.down(peer, None, now, random);
        }
    }

    fn start_due(&mut self, now: Duration) -> Vec<PeerAddr> {
        let mut dials = Vec::new();
        for (peer, watched) in &mut self.watched {
            let due = watched.next.is_some_and(|at| at <= now) && watched.dialing.is_none();
            if !due || self.connected.contains_key(peer) {
                continue;
            }
            if watched.untried.is_empty() {
                watched.untried.clone_from(&watched.addresses);
            }
            watched.next = None;
            if !watched.untried.is_empty() {
                let address = watched.untried.remove(0);
                watched.dialing = Some(address);
                dials.push(PeerAddr { peer: *peer, address });
            }
        }
        dials
    }
}

impl Watched {
    /// An attempt, or a connection that did not last, has failed.
    fn fail(&mut self, text: String, policy: &RetryPolicy, now: Duration, random: u64) {
        self.untried.clear();
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(text);
        self.next = self.necessary.then(|| now + policy.interval(self.failures, random));
    }
}
