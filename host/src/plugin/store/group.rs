//! The turns that are written together, and which of them are due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::WriteBatch;

/// What a pending write takes beside its key and value: two map entries.
const SLOT_BYTES: usize = 160;

/// The writes of a group in one namespace.
#[derive(Debug)]
pub(super) struct Part {
    /// The full name.
    pub(super) name: Arc<str>,
    /// All that is on the disk goes first.
    pub(super) purge: bool,
    /// The last write of each key.
    pub(super) writes: BTreeMap<Bytes, Option<Bytes>>,
    /// Bytes of keys and values after the group.
    pub(super) used: u64,
    /// Whether the namespace exists after the group.
    pub(super) exists: bool,
}

/// The turns that one commit makes durable: all of them or none.
#[derive(Debug)]
pub(super) struct Group {
    /// Counts the groups.
    pub(super) epoch: u64,
    /// By the number of the namespace.
    pub(super) parts: BTreeMap<u32, Part>,
    /// Memory that its writes take.
    bytes: usize,
    /// When the first turn came.
    oldest: Instant,
}

/// A turn that is to be added: the namespace as it is after it.
pub(super) struct Turn<'t> {
    pub(super) namespace: u32,
    pub(super) name: &'t Arc<str>,
    pub(super) batch: &'t WriteBatch,
    pub(super) used: u64,
    pub(super) exists: bool,
}

impl Group {
    fn new(epoch: u64, now: Instant) -> Self {
        Self { epoch, parts: BTreeMap::new(), bytes: 0, oldest: now }
    }

    fn add(&mut self, turn: &Turn<'_>) {
        let part = self.parts.entry(turn.namespace).or_insert_with(|| Part {
            name: turn.name.clone(),
            purge: false,
            writes: BTreeMap::new(),
            used: 0,
            exists: false,
        });
        // Another namespace's since the part was begun, when two traded their contents.
        part.name.clone_from(turn.name);
        (part.used, part.exists) = (turn.used, turn.exists);
        if turn.batch.purge {
            self.bytes -= part.writes.iter().map(slot_bytes).sum::<usize>();
            part.writes.clear();
            part.purge = true;
        }
        for write in &turn.batch.writes {
            self.bytes += slot_bytes(write);
            if let Some(old) = part.writes.insert(write.0.clone(), write.1.clone()) {
                self.bytes -= slot_bytes((write.0, &old));
            }
        }
    }
}

fn slot_bytes((key, value): (&Bytes, &Option<Bytes>)) -> usize {
    SLOT_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len)
}

/// How much may wait and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_bytes: usize,
    pub(super) max_age: Duration,
    pub(super) commit_after: Duration,
}

/// The group that turns join, and the one that is being written.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    open: Option<Group>,
    /// Bytes and oldest turn of the group that is being written.
    in_flight: Option<(usize, Instant)>,
    /// The group that the next turn joins or begins.
    epoch: u64,
    /// Somebody waits for the open group.
    urgent: bool,
}

/// When the open group is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// There is none.
    Idle,
    /// Not yet.
    In(Duration),
    /// At once.
    Now,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, open: None, in_flight: None, epoch: 1, urgent: false }
    }

    /// Whether another turn may join.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let open = self.open.as_ref().map(|group| (group.bytes, group.oldest));
        let waiting = [self.in_flight, open];
        let bytes: usize = waiting.iter().flatten().map(|(bytes, _)| bytes).sum();
        let age = waiting.iter().flatten().map(|(_, oldest)| now.saturating_duration_since(*oldest)).max();
        bytes < self.bounds.max_bytes && age.is_none_or(|age| age < self.bounds.max_age)
    }

    /// Adds turns to the open group, which keeps them together, and returns the group's epoch.
    pub(super) fn add(&mut self, turns: &[Turn<'_>], now: Instant) -> u64 {
        let group = self.open.get_or_insert_with(|| Group::new(self.epoch, now));
        turns.iter().for_each(|turn| group.add(turn));
        self.epoch
    }

    /// The last group that has a turn; 0 when there was none.
    pub(super) fn last(&self) -> u64 {
        if self.open.is_some() { self.epoch } else { self.epoch - 1 }
    }

    /// Makes the open group due at once.
    pub(super) fn hurry(&mut self) {
        self.urgent = self.open.is_some();
    }

    /// When the open group is to be written. Half of the room is kept for turns that come meanwhile.
    pub(super) fn due(&self, now: Instant) -> Due {
        let Some(open) = &self.open else { return Due::Idle };
        let left = self.bounds.commit_after.saturating_sub(now.saturating_duration_since(open.oldest));
        if self.urgent || left.is_zero() || open.bytes >= self.bounds.max_bytes / 2 { Due::Now } else { Due::In(left) }
    }

    /// Takes the open group to write it.
    pub(super) fn take(&mut self) -> Option<Group> {
        let group = self.open.take()?;
        self.in_flight = Some((group.bytes, group.oldest));
        self.epoch += 1;
        self.urgent = false;
        Some(group)
    }

    /// The group that was taken is on the disk and out of the overlay.
    pub(super) fn landed(&mut self) {
        self.in_flight = None;
    }
}
