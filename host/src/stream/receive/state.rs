//! Which generation of a lane is read when. Pure.
//!
//! Invariants of the order, tested over random arrivals:
//!
//! - one generation is read at a time, and their numbers only grow;
//! - a generation is not started while the one it names in `after` is open or may still come in time;
//! - every generation that arrived is started or discarded, whatever never arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::StopCode;

/// What to do with a generation's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Turn {
    /// Read it now.
    Start(u64),
    /// Stop it with the code; `ended` follows.
    Stop(u64, StopCode),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    after: u64,
    deadline: Instant,
}

/// The generations of one lane.
#[derive(Debug, Default)]
pub(in crate::stream) struct LaneOrder {
    /// Being read; counts until it has ended, even when it was told to stop.
    reading: Option<u64>,
    /// Whether the one being read was told to stop.
    stopping: bool,
    /// Highest that was started, or given up before it came.
    done: u64,
    pending: BTreeMap<u64, Waiting>,
}

impl LaneOrder {
    /// A stream's header names this generation. `false` when it cannot be one: the stream is none of the lane.
    pub(in crate::stream) fn arrive(
        &mut self,
        generation: u64,
        after: u64,
        now: Instant,
        patience: Duration,
        turns: &mut Vec<Turn>,
    ) -> Result<(), StopCode> {
        if after >= generation || self.pending.contains_key(&generation) || self.reading == Some(generation) {
            return Err(StopCode::Malformed);
        }
        if generation <= self.done {
            return Err(StopCode::Superseded);
        }
        self.pending.insert(generation, Waiting { after, deadline: now + patience });
        self.settle(now, turns);
        Ok(())
    }

    /// A generation is over: read to its end, stopped, or gone with its connection.
    pub(in crate::stream) fn ended(&mut self, generation: u64, now: Instant, turns: &mut Vec<Turn>) {
        if self.reading == Some(generation) {
            (self.reading, self.stopping) = (None, false);
        } else if let Some(gone) = self.pending.remove(&generation) {
            // Whoever waited for it waits for what it waited for.
            for waiting in self.pending.values_mut().filter(|waiting| waiting.after == generation) {
                waiting.after = gone.after;
            }
        }
        self.settle(now, turns);
    }

    /// Time passed.
    pub(in crate::stream) fn tick(&mut self, now: Instant, turns: &mut Vec<Turn>) {
        self.settle(now, turns);
    }

    /// Whether nothing is open.
    pub(in crate::stream) fn is_idle(&self) -> bool {
        self.reading.is_none() && self.pending.is_empty()
    }

    /// Keeps no memory for what does not wait any more.
    pub(in crate::stream) fn rest(&mut self) {
        if self.pending.is_empty() {
            self.pending = BTreeMap::new();
        }
    }

    fn settle(&mut self, now: Instant, turns: &mut Vec<Turn>) {
        let Some((root, waiting)) = self.root(turns) else { return };
        let unseen = waiting.after > self.done;
        if unseen {
            // What lies before it may be what the unseen one waits for; what lies between is in nobody's order.
            self.discard(waiting.after + 1, root, turns);
            if now < waiting.deadline {
                return;
            }
        }
        self.discard(0, root, turns);
        match self.reading {
            // Finished whole, so its end is already under way: only our own handler can keep it long.
            Some(reading) if reading == waiting.after => {}
            Some(reading) if !self.stopping => {
                self.stopping = true;
                turns.push(Turn::Stop(reading, StopCode::Superseded));
            }
            Some(_) => {}
            None => {
                self.pending.remove(&root);
                (self.reading, self.done) = (Some(root), root);
                turns.push(Turn::Start(root));
            }
        }
    }

    /// Follows `after` from the newest generation down to the first that waits for none that is here, and discards
    /// what lies above it and is in nobody's order.
    fn root(&mut self, turns: &mut Vec<Turn>) -> Option<(u64, Waiting)> {
        let (&newest, _) = self.pending.last_key_value()?;
        let mut root = newest;
        loop {
            let waiting = *self.pending.get(&root)?;
            if !self.pending.contains_key(&waiting.after) {
                return Some((root, waiting));
            }
            self.discard(waiting.after + 1, root, turns);
            root = waiting.after;
        }
    }

    /// Discards what is pending from `first` up to, not including, `end`.
    fn discard(&mut self, first: u64, end: u64, turns: &mut Vec<Turn>) {
        if first < end {
            let out = self.pending.extract_if(first..end, |_, _| true);
            turns.extend(out.map(|(generation, _)| Turn::Stop(generation, StopCode::Superseded)));
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
