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
    /// Its own calls without an outcome, and when they time out: None when the outcome waits in the mailbox.
    pub(super) calls: BTreeMap<u64, Option<Instant>>,
    /// Timers outlive instances and revisions.
    pub(super) timers: Timers<Instant>,
}

/// What is open, without the timers: what ends with an instance.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) requests: BTreeSet<RequestToken>,
    pub(super) commands: BTreeSet<u64>,
    pub(super) asks: BTreeSet<AskId>,
    pub(super) calls: BTreeSet<u64>,
}

impl Ledger {
    /// All that is open now.
    pub(super) fn owed(&self) -> Owed {
        Owed {
            requests: self.requests.clone(),
            commands: self.commands.clone(),
            asks: self.asks.clone(),
            calls: self.calls.keys().copied().collect(),
        }
    }

    /// Takes out what of these is still open, and returns it.
    pub(super) fn close(&mut self, mut owed: Owed) -> Owed {
        owed.requests.retain(|token| self.requests.remove(token));
        owed.commands.retain(|id| self.commands.remove(id));
        owed.asks.retain(|id| self.asks.remove(id));
        owed.calls.retain(|id| self.calls.remove(id).is_some());
        owed
    }

    /// When the next timer or call falls due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.calls.values().flatten().min().copied()).min()
    }

    /// Calls whose time is over, each of them once.
    pub(super) fn take_overdue_calls(&mut self, now: Instant) -> Vec<u64> {
        let overdue = self.calls.iter_mut().filter(|(_, due)| due.is_some_and(|due| due <= now));
        overdue
            .map(|(id, due)| {
                *due = None;
                *id
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_overdue_once() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.calls.insert(1, Some(now));
        assert_eq!((ledger.take_overdue_calls(now), ledger.take_overdue_calls(now)), (vec![1], vec![]));
        assert_eq!((ledger.next_due(), ledger.calls.contains_key(&1)), (None, true));
    }
}
