//! Which stream of a connection is in whose hands. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::PoolStats;
use crate::stream::LaneId;

/// Who has a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// Nobody, since then; nothing was ever written to it.
    Idle { since: Instant },
    /// A lane writes.
    Lent { lane: LaneId, end: End },
    /// Kept for the lane that used it last.
    Parked { lane: LaneId, since: Instant, place: u64 },
    /// Finished, abandoned or stopped, and not reported as ended. An unused one was no lane's.
    Ending { lane: Option<LaneId> },
}

impl Slot {
    fn lane(&self) -> Option<LaneId> {
        match *self {
            Self::Idle { .. } => None,
            Self::Lent { lane, .. } | Self::Parked { lane, .. } => Some(lane),
            Self::Ending { lane } => lane,
        }
    }
}

/// What the peer has said about the end of a lent stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Open,
    /// It is over; the lane is about to hear.
    Reported,
    /// It is over, and the lane knows.
    Told,
}

/// What a lane has.
#[derive(Debug, Default)]
struct OfLane {
    /// Streams that count against its cap.
    held: usize,
    parked: BTreeSet<u64>,
}

/// Every stream that is open or whose end was not reported. What is asked after every event is kept at hand, because a
/// thousand lanes may wait.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<u64, Slot>,
    idle: BTreeSet<u64>,
    /// In the order in which they were parked.
    parked: BTreeMap<u64, u64>,
    lanes: BTreeMap<LaneId, OfLane>,
    /// Counts parkings, so that two at the same instant have an order.
    parkings: u64,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn get(&self, stream: u64) -> Option<Slot> {
        self.slots.get(&stream).copied()
    }

    pub(super) fn set(&mut self, stream: u64, slot: Slot) {
        self.remove(stream);
        match slot {
            Slot::Idle { .. } => drop(self.idle.insert(stream)),
            Slot::Parked { place, .. } => drop(self.parked.insert(place, stream)),
            Slot::Lent { .. } | Slot::Ending { .. } => {}
        }
        if let Some(lane) = slot.lane() {
            let of_lane = self.lanes.entry(lane).or_default();
            of_lane.held += 1;
            if matches!(slot, Slot::Parked { .. }) {
                of_lane.parked.insert(stream);
            }
        }
        self.slots.insert(stream, slot);
    }

    pub(super) fn remove(&mut self, stream: u64) {
        let Some(slot) = self.slots.remove(&stream) else { return };
        match slot {
            Slot::Idle { .. } => drop(self.idle.remove(&stream)),
            Slot::Parked { place, .. } => drop(self.parked.remove(&place)),
            Slot::Lent { .. } | Slot::Ending { .. } => {}
        }
        if let Some(lane) = slot.lane()
            && let Some(of_lane) = self.lanes.get_mut(&lane)
        {
            of_lane.held -= 1;
            of_lane.parked.remove(&stream);
            if of_lane.held == 0 {
                self.lanes.remove(&lane);
            }
        }
    }

    pub(super) fn park(&mut self, stream: u64, lane: LaneId, since: Instant) {
        self.parkings += 1;
        self.set(stream, Slot::Parked { lane, since, place: self.parkings });
    }

    /// Takes out everything that is not lent.
    pub(super) fn take_unlent(&mut self) -> Vec<u64> {
        let unlent = self.slots.iter().filter(|(_, slot)| !matches!(slot, Slot::Lent { .. }));
        let unlent: Vec<_> = unlent.map(|(stream, _)| *stream).collect();
        unlent.iter().for_each(|stream| self.remove(*stream));
        unlent
    }

    /// Counts the streams by their state.
    pub(super) fn count(&self, stats: &mut PoolStats) {
        for slot in self.slots.values() {
            match slot {
                Slot::Idle { .. } => stats.idle += 1,
                Slot::Lent { .. } => stats.lent += 1,
                Slot::Parked { .. } => stats.parked += 1,
                Slot::Ending { .. } => stats.ending += 1,
            }
        }
    }

    /// Streams that count against the lane's cap.
    pub(super) fn held_by(&self, lane: LaneId) -> usize {
        self.lanes.get(&lane).map_or(0, |of_lane| of_lane.held)
    }

    /// Every lane that has streams, and how many.
    pub(super) fn holders(&self) -> impl Iterator<Item = (LaneId, usize)> {
        self.lanes.iter().map(|(lane, of_lane)| (*lane, of_lane.held))
    }

    pub(super) fn parked_for(&self, lane: LaneId) -> Option<u64> {
        self.lanes.get(&lane)?.parked.first().copied()
    }

    /// The lanes that have a parked stream.
    pub(super) fn parkers(&self) -> impl Iterator<Item = LaneId> {
        self.lanes.iter().filter(|(_, of_lane)| !of_lane.parked.is_empty()).map(|(lane, _)| *lane)
    }

    /// The stream that was parked before all others, and its lane.
    pub(super) fn longest_parked(&self) -> Option<(u64, LaneId)> {
        self.parked().next()
    }

    /// The lowest: the peer takes every lower one for open as well, so they are used up from below.
    pub(super) fn idle(&self) -> Option<u64> {
        self.idle.first().copied()
    }

    /// How many are idle.
    pub(super) fn all_idle(&self) -> usize {
        self.idle.len()
    }

    /// All streams that are parked, with their lanes, and all that are idle.
    pub(super) fn unused(&self) -> (Vec<(u64, LaneId)>, Vec<u64>) {
        (self.parked().collect(), self.idle.iter().copied().collect())
    }

    /// Streams parked at `before` or earlier, with their lanes.
    pub(super) fn parked_before(&self, before: Instant) -> Vec<(u64, LaneId)> {
        let old = self.slots.iter().filter_map(|(stream, slot)| match *slot {
            Slot::Parked { lane, since, .. } if since <= before => Some((*stream, lane)),
            _ => None,
        });
        old.collect()
    }

    /// Streams idle since `before` or earlier, as many as there are idle ones beyond `keep`.
    pub(super) fn surplus_before(&self, before: Instant, keep: usize) -> Vec<u64> {
        let surplus = self.idle.len().saturating_sub(keep);
        self.idle_since().filter(|(_, since)| *since <= before).take(surplus).map(|(stream, _)| stream).collect()
    }

    /// Since when the stream has not been used that will be finished first when nobody uses any; up to `keep` idle
    /// ones never are.
    pub(super) fn oldest_unused(&self, keep: usize) -> Option<Instant> {
        let parked = self.slots.values().filter_map(|slot| match slot {
            Slot::Parked { since, .. } => Some(*since),
            _ => None,
        });
        let has_surplus = self.idle.len() > keep;
        let idle = self.idle_since().map(|(_, since)| since).min().filter(|_| has_surplus);
        parked.chain(idle).min()
    }

    fn idle_since(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.idle.iter().filter_map(|stream| match self.slots.get(stream) {
            Some(Slot::Idle { since }) => Some((*stream, *since)),
            _ => None,
        })
    }

    /// With their lanes, the one that was parked first before all others.
    fn parked(&self) -> impl Iterator<Item = (u64, LaneId)> {
        self.parked.values().filter_map(|stream| Some((*stream, self.slots.get(stream)?.lane()?)))
    }
}
