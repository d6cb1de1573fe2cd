//! Which generation of a lane is read when, and how many streams are taken. Pure.
//!
//! Invariants of the order, tested over random arrivals:
//!
//! - one generation is read at a time, and their numbers only grow;
//! - a generation is not started while the one it names in `after` is open or may still come in time;
//! - every generation that arrived is started or discarded, whatever never arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::ConnectionId;
use crate::peer::PeerId;
#[cfg(doc)]
use crate::wire::SMALL_FRAME;
use crate::wire::{DEFAULT_MAX_MESSAGE, FRAME_OVERHEAD, StopCode};

/// What to do with a generation's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
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
pub(super) struct LaneOrder {
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
    pub(super) fn arrive(
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
    pub(super) fn ended(&mut self, generation: u64, now: Instant, turns: &mut Vec<Turn>) {
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
    pub(super) fn tick(&mut self, now: Instant, turns: &mut Vec<Turn>) {
        self.settle(now, turns);
    }

    /// Whether nothing is open.
    pub(super) fn is_idle(&self) -> bool {
        self.reading.is_none() && self.pending.is_empty()
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

/// How many data streams are taken at once. See [`ReceivePolicy::default`] for the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivePolicy {
    /// Most of one connection.
    pub per_connection: usize,
    /// Most of one peer, over all its connections.
    pub per_peer: usize,
    /// Most of the node.
    pub per_node: usize,
    /// Bytes of frames above [`SMALL_FRAME`] that one connection puts together at once, the largest one that any
    /// protocol takes among them.
    pub assembly: usize,
    /// Most lanes whose order is remembered for one peer; the lowest idle ones are forgotten first.
    pub lanes_per_peer: usize,
    /// How long a stream waits for the set sequence in its header, and then for the generation in `after`.
    pub header_wait: Duration,
    /// Most frames that are handed over before the sender is told.
    pub progress_frames: u64,
    /// How long a stream is quiet before the sender is told of fewer.
    pub progress_delay: Duration,
}

impl ReceivePolicy {
    /// The default [`ReceivePolicy::assembly`] where protocols take messages of at most `max_message` bytes.
    pub fn assembly_for(max_message: u32) -> usize {
        // Four frames of the default size come at once; a frame that is larger than all of it still comes, alone.
        (4 << 20).max(max_message as usize + FRAME_OVERHEAD)
    }
}

impl Default for ReceivePolicy {
    fn default() -> Self {
        Self {
            // What hellos allow. A stream that is refused may overlap with the one whose end made room for it.
            per_connection: 64,
            // A connection and its replacement.
            per_peer: 128,
            // What 64 peers with one connection each may have.
            per_node: 4096,
            assembly: Self::assembly_for(DEFAULT_MAX_MESSAGE),
            // Every protocol that a set may hold, twice: lanes are made anew when a handler comes back.
            lanes_per_peer: 2048,
            // As long as the wire protocol allows.
            header_wait: Duration::from_secs(10),
            // A report costs about twenty bytes.
            progress_frames: 1024,
            // Often enough that a lost connection leaves little doubt, seldom enough to cost nothing.
            progress_delay: Duration::from_millis(100),
        }
    }
}

/// How many streams are open. What was refused was never counted, so its end frees nothing.
#[derive(Debug, Default)]
pub(super) struct Counts {
    node: usize,
    peers: BTreeMap<PeerId, usize>,
    connections: BTreeMap<ConnectionId, usize>,
}

impl Counts {
    /// Takes a place, unless one of the limits is reached.
    pub(super) fn take(&mut self, peer: PeerId, connection: ConnectionId, policy: &ReceivePolicy) -> bool {
        let of_peer = self.peers.get(&peer).copied().unwrap_or(0);
        let of_connection = self.connections.get(&connection).copied().unwrap_or(0);
        let fits = self.node < policy.per_node && of_peer < policy.per_peer && of_connection < policy.per_connection;
        if fits {
            self.node += 1;
            self.peers.insert(peer, of_peer + 1);
            self.connections.insert(connection, of_connection + 1);
        }
        fits
    }

    /// Gives a taken place back.
    pub(super) fn give_back(&mut self, peer: PeerId, connection: ConnectionId) {
        self.node = self.node.saturating_sub(1);
        release(&mut self.peers, peer);
        release(&mut self.connections, connection);
    }

    /// Streams of the node.
    pub(super) fn node(&self) -> usize {
        self.node
    }

    /// Streams of every peer that has one.
    pub(super) fn peers(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.peers.iter().map(|(peer, count)| (*peer, *count))
    }
}

fn release<K: Ord + Copy>(counts: &mut BTreeMap<K, usize>, of: K) {
    if let Some(count) = counts.get_mut(&of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
