//! How the supervisor spaces its attempts, and how much it remembers.

use std::time::Duration;

use crate::connection::NEXT_ADDRESS;

/// How retries are spaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest interval. Default 60 s: the Fibonacci numbers pass a minute at the tenth failure.
    pub cap: Duration,
    /// How long a connection must have lived for the failures before it to be forgotten. Default 10 s.
    pub settled: Duration,
    /// Peers that are dialed at once; others that are due wait for one of them to end. Default 64: after a cut of the
    /// whole network, a node with a thousand necessary peers does not start a thousand handshakes in one moment.
    pub at_once: usize,
    /// How long one address of a peer is given before the next one is dialed beside it. Default 250 ms (RFC 8305).
    pub next_address: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { cap: seconds(60), settled: seconds(10), at_once: 64, next_address: NEXT_ADDRESS }
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

/// What the supervisor counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SupervisorStats {
    /// Attempts started; one may dial several addresses.
    pub attempts: u64,
    /// Attempts after which the peer was connected, by this dial or its own.
    pub connected: u64,
    /// Attempts in which no address led to the peer.
    pub unreachable: u64,
    /// Of those, the ones in which another key answered.
    pub wrong_key: u64,
    /// Attempts that the peer or this node refused.
    pub refused: u64,
    /// Attempts that broke, because of a fault of this node.
    pub broken: u64,
    /// Connections of watched peers that ended before they had settled.
    pub short_lived: u64,
    /// Connections of watched peers that ended because the peer or this node did not want them: full, evicted, blocked.
    pub evicted: u64,
    /// Address records that told something new.
    pub records: u64,
}
