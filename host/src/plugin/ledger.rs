//! What a plugin owes and is owed: open requests, commands, asks, calls and timers, as of the last commit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::timers::Timers;
use crate::protocol::{AskId, RequestToken};

/// See the module. Ids are the node's own, so one plugin can never name another's.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Requests of peers that the plugin was told and has not answered.
    pub(super) requests: BTreeSet<RequestToken>,
    /// Commands that the plugin was told and has not answered.
    pub(super) commands: BTreeSet<u64>,
    /// Its own asks without an outcome.
    pub(super) asks: BTreeSet<AskId>,
    /// Its own calls without an outcome, and when they time out.
    pub(super) calls: BTreeMap<u64, Instant>,
    /// Timers outlive instances and revisions.
    pub(super) timers: Timers<Instant>,
}

impl Ledger {
    /// When the next timer or call falls due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.calls.values().min().copied()).min()
    }

    /// Calls whose time is over.
    pub(super) fn overdue_calls(&self, now: Instant) -> Vec<u64> {
        self.calls.iter().filter(|(_, due)| **due <= now).map(|(id, _)| *id).collect()
    }
}
