//! When to dial whom. Pure: the shell feeds events with the time and a random number, and starts the dials.
//!
//! Invariants:
//! - A peer has at most one attempt under way, and none starts while it is connected; all peers together have at most
//!   `RetryPolicy::at_once`.
//! - After a failure the next attempt comes no sooner than the interval of the failures in a row: a refusal is no
//!   hot loop. Only an attempt for an address that the operator has just named comes sooner; what a peer says of
//!   itself never makes it be dialed sooner.
//! - A necessary peer that is neither connected nor being dialed has a time for its next attempt: nothing is ever
//!   given up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::addresses::Addresses;
use super::notes::Note;
use super::policy::{RetryPolicy, SupervisorStats};
use crate::peer::{PeerAddr, PeerId};

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

/// After a dial that succeeded, how long the news of the connection may take before the peer is dialed again.
pub(super) const CONFIRM: Duration = Duration::from_secs(5);

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No address led to the peer; another one may.
    Unreachable,
    /// The same, and at one of them another key answered.
    WrongKey,
    /// The peer or this node said no, and would at every address.
    Refused,
    /// The dial itself broke; where it had come nobody knows.
    Broken,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The peer is connected, by this dial or another.
    Connected,
    /// It is not; `tried` are the addresses that were dialed, as far as that is known.
    Failed { why: Failure, text: String, tried: Vec<SocketAddr> },
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The operator names an address of a peer, and whether to keep it connected; `record` is what the address book
    /// has of it.
    Add { to: PeerAddr, necessary: bool, record: Vec<SocketAddr> },
    /// Forget a peer.
    Remove { peer: PeerId },
    /// The peer's connections came and went, in this order.
    News { peer: PeerId, notes: Vec<Note> },
    /// The peer's record says where it is.
    Learned { peer: PeerId, addresses: Vec<SocketAddr> },
    /// A dial of this address was admitted.
    Worked { to: PeerAddr },
    /// An attempt ended.
    Dialed { peer: PeerId, attempt: u64, outcome: Outcome },
    /// Who is connected, as the manager has it: puts right what a notification missed.
    Look { connected: BTreeSet<PeerId> },
    /// The time of an attempt may have come.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Start an attempt with these addresses, in order.
    Dial { peer: PeerId, attempt: u64, addresses: Vec<SocketAddr> },
    /// Give one more address to the attempt that is under way.
    Also { to: PeerAddr },
}

/// An attempt under way.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Never used twice, so that the end of an attempt for a peer that was removed says nothing about the peer when it
    /// is added again.
    number: u64,
    /// Addresses learned since it began.
    late: BTreeSet<SocketAddr>,
}

/// What is known of one peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    pub(super) addresses: Addresses,
    pub(super) necessary: bool,
    pub(super) attempt: Option<Attempt>,
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
    /// Attempts started; the number of the last one, too.
    pub(super) stats: SupervisorStats,
    actions: Vec<Action>,
}

impl State {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        let (watched, connected, stats) = Default::default();
        Self { policy, watched, connected, stats, actions: Vec::new() }
    }

    /// Decides. `now` never goes back.
    pub(super) fn handle(&mut self, event: Event, now: Duration, random: u64) -> Vec<Action> {
        match event {
            Event::Add { to, necessary, record } => self.add(to, necessary, &record, now),
            Event::Remove { peer } => drop(self.watched.remove(&peer)),
            Event::News { peer, notes } => {
                for note in notes {
                    match note {
                        Note::Up => self.up(peer, now),
                        Note::Down { refused } => self.down(peer, refused, now, random),
                    }
                }
            }
            Event::Learned { peer, addresses } => self.learned(peer, &addresses),
            Event::Worked { to } => {
                if let Some(watched) = self.watched.get_mut(&to.peer) {
                    watched.addresses.work(to.address);
                }
            }
            Event::Dialed { peer, attempt, outcome } => self.dialed(peer, attempt, outcome, now, random),
            Event::Look { connected } => self.look(&connected, now, random),
            Event::Tick => {}
        }
        self.start_due(now);
        std::mem::take(&mut self.actions)
    }

    /// When to call with [`Event::Tick`]. While as many attempts as there may be are under way, the end of one of them
    /// is what the others wait for.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.under_way() >= self.policy.at_once {
            return None;
        }
        self.watched.values().filter(|watched| watched.attempt.is_none()).filter_map(|watched| watched.next).min()
    }

    fn under_way(&self) -> usize {
        self.watched.values().filter(|watched| watched.attempt.is_some()).count()
    }

    fn add(&mut self, to: PeerAddr, necessary: bool, record: &[SocketAddr], now: Duration) {
        let idle = !self.connected.contains_key(&to.peer);
        let watched = self.watched.entry(to.peer).or_default();
        let wanted_anew = necessary && !watched.necessary;
        // What was said last counts: to be kept connected can be taken back without closing anything.
        watched.necessary = necessary;
        watched.addresses.sign(record);
        let new = watched.addresses.name(to.address);
        match &mut watched.attempt {
            Some(attempt) if new => {
                attempt.late.insert(to.address);
                self.actions.push(Action::Also { to });
            }
            None if idle && (new || wanted_anew || !watched.necessary) => watched.next = Some(now),
            _ => {}
        }
    }

    fn learned(&mut self, peer: PeerId, addresses: &[SocketAddr]) {
        self.stats.records += 1;
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        for address in watched.addresses.sign(addresses) {
            if let Some(attempt) = watched.attempt.as_mut().filter(|_| !self.connected.contains_key(&peer)) {
                attempt.late.insert(address);
                self.actions.push(Action::Also { to: PeerAddr { peer, address } });
            }
        }
    }

    fn up(&mut self, peer: PeerId, now: Duration) {
        self.connected.entry(peer).or_insert(now);
        if let Some(watched) = self.watched.get_mut(&peer) {
            (watched.next, watched.last_error) = (None, None);
        }
    }

    fn down(&mut self, peer: PeerId, refused: Option<String>, now: Duration, random: u64) {
        let Some(since) = self.connected.remove(&peer) else { return };
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        if now.saturating_sub(since) >= self.policy.settled {
            watched.failures = 0;
            if refused.is_none() {
                watched.next = watched.necessary.then_some(now);
                return;
            }
        } else {
            self.stats.short_lived += 1;
        }
        self.stats.evicted += u64::from(refused.is_some());
        let text = refused.unwrap_or_else(|| "disconnected soon after it was admitted".into());
        watched.fail(text, &self.policy, now, random);
    }

    fn dialed(&mut self, peer: PeerId, attempt: u64, outcome: Outcome, now: Duration, random: u64) {
        let is_up = self.connected.contains_key(&peer);
        let Some(watched) = self.watched.get_mut(&peer) else { return };
        let Some(attempt) = watched.attempt.take_if(|under_way| under_way.number == attempt) else { return };
        match outcome {
            Outcome::Connected => {
                self.stats.connected += 1;
                // The news that it is up may still come. When it has come and gone again, a time is set already.
                if !is_up && watched.necessary {
                    watched.next.get_or_insert(now + CONFIRM);
                }
            }
            Outcome::Failed { why, text, tried } => {
                self.stats.count(why);
                let untried = attempt.late.iter().any(|address| !tried.contains(address));
                if is_up {
                    // It came by itself.
                } else if untried && matches!(why, Failure::Unreachable | Failure::WrongKey) {
                    (watched.last_error, watched.next) = (Some(text), Some(now));
                } else {
                    watched.fail(text, &self.policy, now, random);
                }
            }
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

    /// Starts what is due, the longest waiting first.
    fn start_due(&mut self, now: Duration) {
        let is_due = |(peer, watched): &(&PeerId, &Watched)| {
            watched.attempt.is_none() && watched.next.is_some_and(|at| at <= now) && !self.connected.contains_key(*peer)
        };
        let due = self.watched.iter().filter(is_due);
        let mut due: Vec<(Option<Duration>, PeerId)> = due.map(|(peer, watched)| (watched.next, *peer)).collect();
        due.sort_unstable();
        let room = self.policy.at_once.saturating_sub(self.under_way());
        for (_, peer) in due.into_iter().take(room) {
            let Some(watched) = self.watched.get_mut(&peer) else { continue };
            self.stats.attempts += 1;
            let attempt = self.stats.attempts;
            (watched.next, watched.attempt) = (None, Some(Attempt { number: attempt, late: BTreeSet::new() }));
            self.actions.push(Action::Dial { peer, attempt, addresses: watched.addresses.in_order() });
        }
    }
}

impl Watched {
    /// An attempt, or a connection that did not last, has failed.
    fn fail(&mut self, text: String, policy: &RetryPolicy, now: Duration, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(text);
        self.next = self.necessary.then(|| now + policy.interval(self.failures, random));
    }
}

impl SupervisorStats {
    fn count(&mut self, why: Failure) {
        match why {
            Failure::Unreachable => self.unreachable += 1,
            Failure::WrongKey => (self.unreachable, self.wrong_key) = (self.unreachable + 1, self.wrong_key + 1),
            Failure::Refused => self.refused += 1,
            Failure::Broken => self.broken += 1,
        }
    }
}
