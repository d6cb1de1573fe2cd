//! Which of a peer's connections a lane uses, and when another connection is wanted. Pure.
//!
//! Invariants, tested over random sequences:
//!
//! - a lane leaves an open connection only when nothing that it wrote there is under way, the connection is full and
//!   another is at most half used, so no lane goes back and forth while nothing else changes;
//! - a connection is wanted only after load that lasted, and is not asked for again before the answer to the last
//!   request had its time; requests that nothing comes of become rarer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::ConnectionId;
use crate::peer::PeerId;
use crate::stream::pool::PoolStats;

/// Where a lane's newest stream is whose end the peer has not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Its connection.
    pub connection: ConnectionId,
    /// Whether everything that the lane has written was handed over, by the peer's own report.
    pub settled: bool,
}

/// How busy a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) connection: ConnectionId,
    /// Streams in use, and borrowers waiting.
    pub(super) used: usize,
    /// Slots.
    pub(super) max: usize,
}

impl Load {
    pub(super) fn of(connection: ConnectionId, stats: &PoolStats) -> Self {
        Self { connection, used: stats.load(), max: stats.max }
    }

    fn is_full(&self) -> bool {
        self.used >= self.max
    }

    fn has_plenty(&self) -> bool {
        self.used < self.max && 2 * self.used <= self.max
    }

    /// By the share that is used; one without slots is full whatever is used of it.
    fn compare(&self, other: &Self) -> Ordering {
        let zero = (self.max == 0).cmp(&(other.max == 0));
        zero.then((self.used * other.max).cmp(&(other.used * self.max)))
    }
}

/// The connection for a lane's next stream. `loads` are the open ones, oldest first.
pub(super) fn choose(loads: &[Load], home: Option<Home>) -> Option<ConnectionId> {
    let best = loads.iter().min_by(|one, other| one.compare(other))?;
    let at_home = home.and_then(|home| loads.iter().find(|load| load.connection == home.connection));
    let stays = |load: &&Load| {
        let settled = home.is_some_and(|home| home.settled);
        !(settled && load.is_full() && best.has_plenty())
    };
    Some(at_home.filter(stays).unwrap_or(best).connection)
}

/// When another connection is wanted. See [`LoadPolicy::default`] for the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadPolicy {
    /// How long the load must last.
    pub busy_for: Duration,
    /// How long nothing more is asked for after a request; doubled while nothing comes of it.
    pub again_after: Duration,
    /// Up to this.
    pub again_at_most: Duration,
    /// How long a further connection must not have been needed before it is given up.
    pub spare_after: Duration,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self {
            // A burst is over by then; what lasts longer is worth a handshake.
            busy_for: Duration::from_secs(1),
            // As long as a dial may take.
            again_after: Duration::from_secs(10),
            // Where the other side allows no more connections, asking costs it a refused handshake.
            again_at_most: Duration::from_secs(300),
            // A handshake a minute costs nothing, and load that comes back sooner finds the connection there.
            spare_after: Duration::from_secs(60),
        }
    }
}

/// What happened to the connections of a peer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A lane wants a stream, of so many slots so many are used or waited for.
    Weighed { used: usize, max: usize },
    /// A connection was added.
    Added,
    /// The last one is gone.
    Gone,
}

#[derive(Debug, Default)]
struct Want {
    busy_since: Option<Instant>,
    asked: Option<Instant>,
    /// Requests since a connection came.
    unanswered: u32,
}

/// What every connected peer needs.
#[derive(Debug)]
pub(super) struct Wants {
    policy: LoadPolicy,
    peers: BTreeMap<PeerId, Want>,
}

impl Wants {
    pub(super) fn new(policy: LoadPolicy) -> Self {
        Self { policy, peers: BTreeMap::new() }
    }

    /// Whether to ask for another connection to the peer now.
    pub(super) fn handle(&mut self, peer: PeerId, event: Event, now: Instant) -> bool {
        match event {
            // A peer that has just gone is weighed no more, or it would be remembered for ever.
            Event::Weighed { used, max } => {
                let want = self.peers.get_mut(&peer);
                want.is_some_and(|want| want.weigh(used, max, now) && want.ask(&self.policy, now))
            }
            Event::Added => {
                let want = self.peers.entry(peer).or_default();
                (want.busy_since, want.unanswered) = (None, 0);
                false
            }
            Event::Gone => {
                self.peers.remove(&peer);
                false
            }
        }
    }
}

impl Want {
    /// Whether half of the slots are in use: busy from there on, until it falls below a quarter.
    fn weigh(&mut self, used: usize, max: usize, now: Instant) -> bool {
        // A single lane writes one stream at a time, on however many connections.
        let busy = used > 1 && 2 * used >= max;
        if 4 * used < max || used <= 1 {
            self.busy_since = None;
        } else if busy {
            self.busy_since.get_or_insert(now);
        }
        busy
    }

    fn ask(&mut self, policy: &LoadPolicy, now: Instant) -> bool {
        let lasted = self.busy_since.is_some_and(|since| now >= since + policy.busy_for);
        let doublings = self.unanswered.saturating_sub(1).min(16);
        let pause = policy.again_after.saturating_mul(1 << doublings).min(policy.again_at_most);
        let wants = lasted && self.asked.is_none_or(|asked| now >= asked + pause);
        if wants {
            self.asked = Some(now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        wants
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
