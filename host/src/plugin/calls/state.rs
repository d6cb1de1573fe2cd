//! Which commands and calls are open, who may open more, and how each of them ends. Pure.
//!
//! Each ends once: with an answer, with the end of its target, because it could not be delivered, or withdrawn by who
//! waits. Nobody waits here for anybody: a call is an entry, its outcome an event of a later turn, so plugins that call
//! each other in a circle cannot stop each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A call's worth of a pair's rate. Parts of it come back every microsecond.
const ONE_CALL: u64 = 1_000_000;

/// What one plugin may have of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PairLimits {
    /// Calls open at once.
    pub(super) open: u32,
    /// Calls in a second; as many may come at once after a second without.
    pub(super) per_second: u32,
}

/// Why a plugin may not call another now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum PairRefused {
    /// As many as may be have no outcome yet.
    TooManyOpen,
    /// They come faster than they may.
    TooFast,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeskEvent {
    /// A plugin takes commands from now on.
    Entered { plugin: String },
    /// It takes none any more, and needs no outcome of its own.
    Left { plugin: String },
    /// A command for a plugin: of another plugin, or of somebody beside the node.
    Submitted { id: u64, caller: Option<String>, target: String },
    /// The target's mailbox did not take it.
    NotTaken { id: u64 },
    /// The target answered.
    Answered { id: u64 },
    /// Whoever waited does not wait any more.
    Withdrawn { id: u64 },
}

/// How a command ends for who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With what the target said.
    Answer,
    /// There is no such plugin.
    Unknown,
    /// Too many wait for the target.
    Busy,
    /// The target went.
    Gone,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeskAction {
    /// Put it into the target's mailbox.
    Deliver { id: u64, target: String },
    /// Tell who waits; it is over.
    Tell { id: u64, end: End },
    /// It is over and nobody waits.
    Forget { id: u64 },
    /// Tell the target that no answer is wanted.
    Recall { id: u64, target: String },
}

#[derive(Debug)]
struct Open {
    caller: Option<String>,
    target: String,
}

/// The calls of one plugin to another.
#[derive(Debug)]
struct Pair {
    open: u32,
    /// What is left of the rate, in parts of a call, as of `at`.
    left: u64,
    at: Duration,
}

impl Pair {
    fn full(per_second: u32) -> u64 {
        u64::from(per_second) * ONE_CALL
    }

    /// What is left of the rate now.
    fn left(&self, per_second: u32, now: Duration) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        let back = passed.saturating_mul(per_second.into());
        self.left.saturating_add(back).min(Self::full(per_second))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct DeskState {
    limits: PairLimits,
    targets: BTreeSet<String>,
    open: BTreeMap<u64, Open>,
    /// By caller and target.
    pairs: BTreeMap<(String, String), Pair>,
}

impl DeskState {
    pub(super) fn new(limits: PairLimits) -> Self {
        Self { limits, targets: BTreeSet::new(), open: BTreeMap::new(), pairs: BTreeMap::new() }
    }

    pub(super) fn handle(&mut self, event: DeskEvent, now: Duration) -> Vec<DeskAction> {
        match event {
            DeskEvent::Entered { plugin } => {
                self.targets.insert(plugin);
                Vec::new()
            }
            DeskEvent::Left { plugin } => self.left(&plugin),
            DeskEvent::Submitted { id, caller, target } => self.submitted(id, caller, target, now),
            DeskEvent::NotTaken { id } => self.end(id, End::Busy),
            DeskEvent::Answered { id } => self.end(id, End::Answer),
            DeskEvent::Withdrawn { id } => self.withdrawn(id),
        }
    }

    /// Whether somebody waits for the outcome.
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Whether a plugin may call another now, beside `staged` calls to it that it is about to make.
    pub(super) fn may_call(&self, caller: &str, target: &str, staged: u32, now: Duration) -> Result<(), PairRefused> {
        let PairLimits { open, per_second } = self.limits;
        let pair = self.pairs.get(&(caller.to_owned(), target.to_owned()));
        let (has, left) = pair.map_or((0, Pair::full(per_second)), |pair| (pair.open, pair.left(per_second, now)));
        if has.saturating_add(staged) >= open {
            return Err(PairRefused::TooManyOpen);
        }
        if left < u64::from(staged).saturating_add(1).saturating_mul(ONE_CALL) {
            return Err(PairRefused::TooFast);
        }
        Ok(())
    }

    fn submitted(&mut self, id: u64, caller: Option<String>, target: String, now: Duration) -> Vec<DeskAction> {
        if let Some(caller) = &caller {
            self.count(caller.clone(), target.clone(), now);
        }
        let known = self.targets.contains(&target);
        self.open.insert(id, Open { caller, target: target.clone() });
        if known { vec![DeskAction::Deliver { id, target }] } else { self.end(id, End::Unknown) }
    }

    fn count(&mut self, caller: String, target: String, now: Duration) {
        let per_second = self.limits.per_second;
        let new = || Pair { open: 0, left: Pair::full(per_second), at: now };
        let pair = self.pairs.entry((caller, target)).or_insert_with(new);
        (pair.left, pair.at) = (pair.left(per_second, now).saturating_sub(ONE_CALL), now);
        pair.open += 1;
    }

    /// Takes a command out: nothing when it is over already.
    fn close(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(caller) = &open.caller
            && let Some(pair) = self.pairs.get_mut(&(caller.clone(), open.target.clone()))
        {
            pair.open = pair.open.saturating_sub(1);
        }
        Some(open)
    }

    fn end(&mut self, id: u64, end: End) -> Vec<DeskAction> {
        self.close(id).map(|_| DeskAction::Tell { id, end }).into_iter().collect()
    }

    fn withdrawn(&mut self, id: u64) -> Vec<DeskAction> {
        let Some(open) = self.close(id) else { return Vec::new() };
        let target = open.target;
        let recall = self.targets.contains(&target).then_some(DeskAction::Recall { id, target });
        std::iter::once(DeskAction::Forget { id }).chain(recall).collect()
    }

    /// What it has not answered is gone, and what it waits for it waits for no more.
    fn left(&mut self, plugin: &str) -> Vec<DeskAction> {
        self.targets.remove(plugin);
        let by = |open: &Open| open.caller.as_deref() == Some(plugin);
        let all = self.open.iter().filter(|(_, open)| open.target == plugin || by(open));
        let all: Vec<_> = all.map(|(id, open)| (*id, by(open))).collect();
        let mut actions = Vec::new();
        for (id, own) in all {
            actions.extend(if own { self.withdrawn(id) } else { self.end(id, End::Gone) });
        }
        self.pairs.retain(|(caller, target), pair| caller != plugin && (target != plugin || pair.open > 0));
        actions
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
