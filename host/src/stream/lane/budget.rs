//! What all lanes of one owner may queue together: else many peers could make one plugin queue without end.
//!
//! A lane may hold at most as much as it leaves free for the others. So peers that read nothing tie up less each the
//! more of them there are, and a lane that holds nothing still finds room.
//!
//! Invariants, tested over random sequences:
//!
//! - bytes counted are bytes held: nothing leaks, whatever way a lane goes;
//! - what was promised as room fits below the hard limit, and one message above it, too;
//! - a lane that found no room is woken once there is some: it never waits for ever while others take turns.
//!
//! The lock is a leaf: it is taken with a lane's lock held, and nothing is called under it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::shared::Shared;
use crate::stream::LaneId;

/// What one turn of a plugin may stage, in bytes.
const TURN: usize = 1 << 20;

/// How many bytes the lanes of one owner queue together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// From here on every lane is congested.
    pub soft: usize,
    /// What does not fit below this is undelivered, but for answers.
    pub hard: usize,
    /// How long a peer may take nothing while other lanes wait for the room that its lane holds.
    pub patience: Duration,
}

impl BudgetLimits {
    /// For messages of at most `max_message` bytes.
    pub fn for_messages(max_message: u32) -> Self {
        // Twelve lanes may be full at once; a plugin whose peers read uses a fraction of one. The rest is for what
        // was checked against the soft limit and ends above it: a turn and a message, and of two senders at a time,
        // because a handler may be called from two threads.
        let soft = 12 << 20;
        // As long as everything else that waits for a peer.
        let patience = Duration::from_secs(10);
        Self { soft, hard: soft + 2 * (TURN + max_message as usize), patience }
    }
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self::for_messages(crate::wire::DEFAULT_MAX_MESSAGE)
    }
}

/// Shared by all lanes of one owner.
pub struct OutboundBudget(Mutex<BudgetState<Weak<Shared>>>);

impl OutboundBudget {
    /// A budget of which nothing is used.
    pub fn new(limits: BudgetLimits) -> Arc<Self> {
        Arc::new(Self(Mutex::new(BudgetState::new(limits))))
    }

    /// Bytes that may be queued below the soft limit.
    pub fn free(&self) -> usize {
        self.lock().free()
    }

    /// Bytes that are queued.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// Whether a lane waits for room.
    pub(super) fn is_short(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// See [`BudgetLimits::patience`].
    pub(super) fn patience(&self) -> Duration {
        self.lock().limits.patience
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BudgetState<Weak<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutboundBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "OutboundBudget({} of {:?}, {} waiting)", state.used, state.limits, state.waiting.len())
    }
}

#[derive(Debug)]
struct Waiting<W> {
    /// Holds nothing itself, so only the others can make room.
    idle: bool,
    wake: W,
}

/// Who holds how much, and who waits; `W` is how to wake a lane. Pure.
#[derive(Debug)]
pub(super) struct BudgetState<W> {
    limits: BudgetLimits,
    /// Σ over all lanes of what they hold or have reserved.
    used: usize,
    /// At most one entry a lane.
    waiting: BTreeMap<LaneId, Waiting<W>>,
}

impl<W> BudgetState<W> {
    pub(super) fn new(limits: BudgetLimits) -> Self {
        Self { limits, used: 0, waiting: BTreeMap::new() }
    }

    pub(super) fn free(&self) -> usize {
        self.limits.soft.saturating_sub(self.used)
    }

    /// How much a lane that holds `own` may add.
    pub(super) fn room(&self, own: usize) -> usize {
        self.free().saturating_sub(own)
    }

    /// Sets aside up to `wanted` bytes below the hard limit, and `always` in any case; how much it was.
    pub(super) fn reserve(&mut self, wanted: usize, always: usize) -> usize {
        let granted = wanted.min(self.limits.hard.saturating_sub(self.used)) + always;
        self.used += granted;
        granted
    }

    /// A lane that held or had reserved `before` holds `now`.
    pub(super) fn change(&mut self, before: usize, now: usize) {
        self.used = self.used.saturating_sub(before) + now;
    }

    /// The lane wants to be woken. One that is `idle` holds nothing.
    pub(super) fn wait(&mut self, lane: LaneId, idle: bool, wake: impl FnOnce() -> W) {
        self.waiting.entry(lane).or_insert_with(|| Waiting { idle, wake: wake() }).idle = idle;
    }

    /// The lane waits no longer.
    pub(super) fn leave(&mut self, lane: LaneId) {
        self.waiting.remove(&lane);
    }

    /// Takes out those that need not wait any more: all below half of the soft limit, those that hold nothing as
    /// soon as anything is free.
    pub(super) fn woken(&mut self) -> Vec<W> {
        let all = self.used == 0 || self.used < self.limits.soft / 2;
        if self.waiting.is_empty() || (!all && self.free() == 0) {
            return Vec::new();
        }
        let ready = self.waiting.extract_if(.., |_, waiting| all || waiting.idle);
        ready.map(|(_, waiting)| waiting.wake).collect()
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
