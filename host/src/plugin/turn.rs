//! What one turn staged: effects in order, with budgets, and how to take the last of them back. Pure but for the
//! store's reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::abi::weir::plugin::net::Verdict;
use super::staged_bodies::StagedBodies;
use super::staged_lanes::{StagedLane, StagedLanes};
use super::store::{Mark, StagedWrites};
use crate::peer::PeerId;
use crate::protocol::{AskId, ProtocolId, ProtocolSpec, RequestToken, SendError};
use crate::wire::Failure;

/// One accepted call, to be carried out at the commit.
#[derive(Debug)]
pub(super) enum Effect {
    Message {
        lane: usize,
        body: Bytes,
    },
    Messages {
        lanes: Vec<usize>,
        body: Bytes,
    },
    Ask {
        lane: usize,
        id: AskId,
        timeout: Duration,
        body: Bytes,
    },
    Cancel(AskId),
    Respond {
        token: RequestToken,
        outcome: Result<Bytes, Failure>,
    },
    Register {
        key: u32,
        spec: ProtocolSpec,
        before: Option<Option<ProtocolSpec>>,
    },
    Unregister {
        key: u32,
        id: ProtocolId,
        before: Option<Option<ProtocolSpec>>,
    },
    Pause {
        protocol: ProtocolId,
        paused: bool,
    },
    Report(Box<Report>),
    /// An accepted call that changes nothing: `keep` counts it all the same.
    Nothing,
    /// A write of the store, and the moment before it.
    Write(Mark),
    TimerSet {
        id: u64,
        after: Duration,
        before: Option<bool>,
    },
    TimerCancel {
        id: u64,
        before: Option<bool>,
    },
    Call {
        id: u64,
        plugin: String,
        name: String,
        timeout: Duration,
        body: Bytes,
    },
    Answer {
        command: u64,
        outcome: Result<Bytes, Failure>,
    },
}

/// A verdict on a peer.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer: PeerId,
    pub(super) key: u32,
    /// What the key means, if anything.
    pub(super) protocol: Option<ProtocolId>,
    pub(super) verdict: Verdict,
    pub(super) why: String,
}

impl Effect {
    /// Bytes it counts against the budget of the turn. Writes are counted by the store.
    fn bytes(&self) -> usize {
        match self {
            Self::Message { body, .. }
            | Self::Messages { body, .. }
            | Self::Ask { body, .. }
            | Self::Call { body, .. } => body.len(),
            _ => 0,
        }
    }
}

/// The turn staged all it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverBudget;

/// The effects of the turn that runs.
#[derive(Debug)]
pub(super) struct Staged {
    most_effects: usize,
    most_bytes: usize,
    effects: Vec<Effect>,
    bytes: usize,
    pub(super) bodies: StagedBodies,
    pub(super) lanes: StagedLanes,
    pub(super) writes: StagedWrites,
    keys: BTreeMap<u32, Option<ProtocolSpec>>,
    timers: BTreeMap<u64, bool>,
    answered: BTreeSet<RequestToken>,
    answered_commands: BTreeSet<u64>,
    open: usize,
    /// Calls by the plugin they are for.
    calls_to: BTreeMap<String, u32>,
}

/// What a turn staged, taken out to be carried out.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) effects: Vec<Effect>,
    pub(super) lanes: Vec<StagedLane>,
    /// Protocols by key as they are after the turn, where it changed them.
    pub(super) keys: BTreeMap<u32, Option<ProtocolSpec>>,
}

impl Staged {
    pub(super) fn new(most_effects: u32, most_bytes: u32, writes: StagedWrites) -> Self {
        Self {
            most_effects: most_effects as usize,
            most_bytes: most_bytes as usize,
            effects: Vec::new(),
            bytes: 0,
            bodies: StagedBodies::default(),
            lanes: StagedLanes::default(),
            writes,
            keys: BTreeMap::new(),
            timers: BTreeMap::new(),
            answered: BTreeSet::new(),
            answered_commands: BTreeSet::new(),
            open: 0,
            calls_to: BTreeMap::new(),
        }
    }

    /// Bytes that a send on this lane would take now.
    pub(super) fn room(&self, lane: usize) -> usize {
        self.lanes.room(lane).min(self.most_bytes.saturating_sub(self.bytes))
    }

    /// Stages one body for many lanes, for as many of these as take it: who was refused, by position in `to`.
    /// Nothing is staged when nobody takes it. The caller has asked [`Staged::fits`].
    pub(super) fn push_all<E: From<SendError>>(
        &mut self,
        to: impl IntoIterator<Item = Result<usize, E>>,
        body: Bytes,
    ) -> Result<Vec<(u32, E)>, OverBudget> {
        let (mut lanes, mut refused) = (Vec::new(), Vec::new());
        for (at, lane) in (0..).zip(to) {
            match lane.and_then(|lane| self.lanes.accept(lane, body.len()).map(|()| lane).map_err(E::from)) {
                Ok(lane) => {
                    // At once, because the next one named may be the same peer.
                    self.lanes.put(lane, body.len());
                    lanes.push(lane);
                }
                Err(error) => refused.push((at, error)),
            }
        }
        if !lanes.is_empty() {
            self.push(Effect::Messages { lanes, body })?;
        }
        Ok(refused)
    }

    /// Whether another effect of so many bytes fits the budget.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.effects.len() < self.most_effects && self.bytes.saturating_add(bytes) <= self.most_bytes
    }

    /// Stages an effect.
    pub(super) fn push(&mut self, effect: Effect) -> Result<(), OverBudget> {
        if !self.fits(effect.bytes()) {
            return Err(OverBudget);
        }
        self.bytes += effect.bytes();
        self.note(&effect);
        self.effects.push(effect);
        Ok(())
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Message { lane, body } => self.lanes.put(*lane, body.len()),
            Effect::Ask { lane, body, .. } => {
                self.lanes.put(*lane, body.len());
                self.open += 1;
            }
            Effect::Call { plugin, .. } => {
                self.open += 1;
                *self.calls_to.entry(plugin.clone()).or_default() += 1;
            }
            Effect::Respond { token, .. } => drop(self.answered.insert(*token)),
            Effect::Answer { command, .. } => drop(self.answered_commands.insert(*command)),
            Effect::Register { key, spec, .. } => {
                self.lanes.rekey(*key);
                self.keys.insert(*key, Some(spec.clone()));
            }
            Effect::Unregister { key, .. } => {
                self.lanes.rekey(*key);
                self.keys.insert(*key, None);
            }
            Effect::TimerSet { id, .. } => drop(self.timers.insert(*id, true)),
            Effect::TimerCancel { id, .. } => drop(self.timers.insert(*id, false)),
            // What `Messages` takes of its lanes was noted when they took it.
            Effect::Messages { .. }
            | Effect::Cancel(_)
            | Effect::Pause { .. }
            | Effect::Report(_)
            | Effect::Nothing
            | Effect::Write(_) => {}
        }
    }

    /// Keeps the first `count` effects and forgets the rest.
    pub(super) fn keep(&mut self, count: usize) {
        while self.effects.len() > count {
            if let Some(effect) = self.effects.pop() {
                self.bytes -= effect.bytes();
                self.take_back(effect);
            }
        }
    }

    fn take_back(&mut self, effect: Effect) {
        match effect {
            Effect::Message { lane, body } => self.lanes.take_back(lane, body.len()),
            Effect::Messages { lanes, body } => lanes.iter().for_each(|lane| self.lanes.take_back(*lane, body.len())),
            Effect::Ask { lane, body, .. } => {
                self.lanes.take_back(lane, body.len());
                self.open -= 1;
            }
            Effect::Call { plugin, .. } => {
                self.open -= 1;
                if let Some(calls) = self.calls_to.get_mut(&plugin) {
                    *calls -= 1;
                }
            }
            Effect::Respond { token, .. } => drop(self.answered.remove(&token)),
            Effect::Answer { command, .. } => drop(self.answered_commands.remove(&command)),
            Effect::Register { key, before, .. } | Effect::Unregister { key, before, .. } => {
                self.lanes.rekey(key);
                put_back(&mut self.keys, key, before);
            }
            Effect::TimerSet { id, before, .. } | Effect::TimerCancel { id, before } => {
                put_back(&mut self.timers, id, before);
            }
            Effect::Write(mark) => self.writes.rewind(mark),
            Effect::Cancel(_) | Effect::Pause { .. } | Effect::Report(_) | Effect::Nothing => {}
        }
    }

    /// What is staged, in order.
    #[cfg(feature = "simulation")]
    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// What the turn made of a key: None when it did not touch it.
    pub(super) fn key(&self, key: u32) -> Option<&Option<ProtocolSpec>> {
        self.keys.get(&key)
    }

    /// All keys the turn touched.
    pub(super) fn keys(&self) -> &BTreeMap<u32, Option<ProtocolSpec>> {
        &self.keys
    }

    /// What the turn made of a timer: None when it did not touch it.
    pub(super) fn timer(&self, id: u64) -> Option<bool> {
        self.timers.get(&id).copied()
    }

    /// How many timers the turn touched.
    pub(super) fn timer_changes(&self) -> usize {
        self.timers.len()
    }

    /// Timers the turn touched, and whether they are set after it.
    pub(super) fn timers(&self) -> impl Iterator<Item = (u64, bool)> {
        self.timers.iter().map(|(id, set)| (*id, *set))
    }

    /// Whether the turn answered this request.
    pub(super) fn answered(&self, token: RequestToken) -> bool {
        self.answered.contains(&token)
    }

    /// Whether the turn answered this command.
    pub(super) fn answered_command(&self, command: u64) -> bool {
        self.answered_commands.contains(&command)
    }

    /// Asks and calls the turn opened.
    pub(super) fn opened(&self) -> usize {
        self.open
    }

    /// Calls to a plugin that the turn opened.
    pub(super) fn calls_to(&self, plugin: &str) -> u32 {
        self.calls_to.get(plugin).copied().unwrap_or(0)
    }

    /// Takes everything but the writes; the next turn begins with nothing.
    pub(super) fn take(&mut self) -> Commit {
        self.bytes = 0;
        self.open = 0;
        self.bodies = StagedBodies::default();
        self.calls_to.clear();
        self.timers.clear();
        self.answered.clear();
        self.answered_commands.clear();
        Commit {
            effects: std::mem::take(&mut self.effects),
            lanes: self.lanes.take(),
            keys: std::mem::take(&mut self.keys),
        }
    }
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
