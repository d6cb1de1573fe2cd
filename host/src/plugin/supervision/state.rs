//! When a plugin that crashed is started again, and when no more. Pure.
//!
//! Crashes are counted for the running revision and by cause: a plugin whose start fails is no better for never having
//! run out of time. A cause that comes `crashes` times within `window` quarantines the plugin: it is unregistered, its
//! peers are told, and it is tried again after a pause that doubles each time. Before that, each crash but the first
//! two within the window makes the next start wait, twice as long each time; so there is no hot loop, whatever the
//! plugin does. Jitter keeps plugins that fail together (a full disk) from coming back together.
//!
//! | in | crash within the budget | crash that uses it up | started well | time is over | lifted, upgraded |
//! |---|---|---|---|---|---|
//! | up | up, or backing off | quarantined | up | | |
//! | backing off | | | up | started again | up |
//! | quarantined | | | up | started again | up |
//! | started again after a quarantine | quarantined, if the start failed | quarantined | up | | |

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;

/// What a plugin may crash, and how long it then waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisionPolicy {
    /// Crashes of one cause within `window` after which the plugin is quarantined.
    pub crashes: usize,
    /// See `crashes`.
    pub window: Duration,
    /// How long the third crash within the window makes the next start wait; each further one twice as long.
    pub backoff: Duration,
    /// The longest such wait. Messages wait meanwhile and their senders feel it.
    pub longest_backoff: Duration,
    /// The first quarantine; each further one is twice as long.
    pub quarantine: Duration,
    /// The longest.
    pub longest_quarantine: Duration,
    /// After so long without a quarantine the next one is the first again.
    pub calm: Duration,
}

impl Default for SupervisionPolicy {
    fn default() -> Self {
        Self {
            crashes: 5,
            window: Duration::from_secs(60),
            backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
            quarantine: Duration::from_secs(60),
            longest_quarantine: Duration::from_secs(3_600),
            calm: Duration::from_secs(600),
        }
    }
}

/// What crashes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashCause {
    /// It trapped.
    Trap,
    /// It used up its time.
    Timeout,
    /// It returned an error.
    Error,
    /// What it returned cannot be read.
    BadResult,
    /// The store refused its writes.
    Commit,
    /// It could not be started again, whatever the way in which that failed.
    Start,
}

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Decision<N> {
    /// It is started again at once.
    Restart,
    /// It is started again then.
    BackOff { until: N },
    /// It is unregistered until then.
    Quarantine { until: N },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase<N> {
    Up,
    BackingOff(N),
    Quarantined(N),
    /// Started again after a quarantine, and not yet running.
    Returning,
}

/// See the module. `N` is a point in time.
#[derive(Debug)]
pub(in crate::plugin) struct Supervision<N> {
    policy: SupervisionPolicy,
    /// When, and whose event it was.
    crashes: BTreeMap<CrashCause, VecDeque<(N, Option<PeerId>)>>,
    phase: Phase<N>,
    times: u32,
    /// When the last quarantine ended.
    returned: Option<N>,
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> Supervision<N> {
    pub(in crate::plugin) fn new(policy: SupervisionPolicy) -> Self {
        Self { policy, crashes: BTreeMap::new(), phase: Phase::Up, times: 0, returned: None }
    }

    /// As it was before the node ended: quarantined so many times in a row, until then. None: that time is over.
    pub(in crate::plugin) fn restore(&mut self, times: u32, until: Option<N>, now: N) {
        self.times = times;
        self.returned = until.is_none().then_some(now);
        self.phase = until.map_or(Phase::Up, Phase::Quarantined);
    }

    /// The plugin crashed, in an event of this peer if there is one. `jitter` is random.
    pub(in crate::plugin) fn crashed(
        &mut self,
        cause: CrashCause,
        by: Option<PeerId>,
        now: N,
        jitter: u64,
    ) -> Decision<N> {
        let (window, most) = (self.policy.window, self.policy.crashes.max(1));
        let of_cause = self.crashes.entry(cause).or_default();
        of_cause.push_back((now, by));
        while of_cause.len() > most || of_cause.front().is_some_and(|(at, _)| *at + window <= now) {
            of_cause.pop_front();
        }
        let count = of_cause.len();
        let failed_return = self.phase == Phase::Returning && cause == CrashCause::Start;
        if count >= most || failed_return {
            return self.quarantine(now, jitter);
        }
        let pause = self.backoff(count);
        if pause.is_zero() {
            self.phase = Phase::Up;
            return Decision::Restart;
        }
        let until = now + jittered(pause, jitter);
        self.phase = Phase::BackingOff(until);
        Decision::BackOff { until }
    }

    fn backoff(&self, crashes: usize) -> Duration {
        let Some(doublings) = crashes.checked_sub(3) else { return Duration::ZERO };
        self.policy.backoff.saturating_mul(1 << doublings.min(20)).min(self.policy.longest_backoff)
    }

    /// It is quarantined, whatever its budget says: it was on probation, and had less.
    pub(in crate::plugin) fn give_up(&mut self, now: N, jitter: u64) -> Decision<N> {
        self.quarantine(now, jitter)
    }

    fn quarantine(&mut self, now: N, jitter: u64) -> Decision<N> {
        // Only time in which it ran is calm: one that never comes back is not forgiven for the pauses between.
        if self.returned.take().is_some_and(|at| at + self.policy.calm <= now) {
            self.times = 0;
        }
        let doubled = self.policy.quarantine.saturating_mul(1 << self.times.min(20));
        let pause = jittered(doubled.min(self.policy.longest_quarantine), jitter);
        self.times = self.times.saturating_add(1);
        self.crashes.clear();
        let until = now + pause;
        self.phase = Phase::Quarantined(until);
        Decision::Quarantine { until }
    }

    /// What this peer's events cost is not the plugin's doing.
    pub(in crate::plugin) fn blamed(&mut self, peer: &PeerId) {
        for crashes in self.crashes.values_mut() {
            crashes.retain(|(_, by)| by.as_ref() != Some(peer));
        }
    }

    /// When it is to be started again; `None` at once.
    pub(in crate::plugin) fn wake(&self) -> Option<N> {
        match self.phase {
            Phase::BackingOff(until) | Phase::Quarantined(until) => Some(until),
            Phase::Up | Phase::Returning => None,
        }
    }

    /// It is being started again.
    pub(in crate::plugin) fn starting(&mut self) {
        self.phase = match self.phase {
            Phase::Quarantined(_) | Phase::Returning => Phase::Returning,
            Phase::Up | Phase::BackingOff(_) => Phase::Up,
        };
    }

    /// It runs again; whether it comes back from a quarantine.
    pub(in crate::plugin) fn started(&mut self, now: N) -> bool {
        let back = self.phase == Phase::Returning;
        if back {
            self.returned = Some(now);
        }
        self.phase = Phase::Up;
        back
    }

    /// How often in a row it was quarantined.
    pub(in crate::plugin) fn times(&self) -> u32 {
        self.times
    }

    /// Whether it is unregistered.
    pub(in crate::plugin) fn is_quarantined(&self) -> bool {
        matches!(self.phase, Phase::Quarantined(_) | Phase::Returning)
    }

    /// The operator wants it to be tried now. False when it was not quarantined.
    pub(in crate::plugin) fn lift(&mut self) -> bool {
        let lifted = self.is_quarantined();
        if lifted {
            self.phase = Phase::Returning;
        }
        lifted
    }
}

/// Up to a fifth longer.
fn jittered(pause: Duration, jitter: u64) -> Duration {
    pause + (pause / 5).mul_f64(jitter as f64 / u64::MAX as f64)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
