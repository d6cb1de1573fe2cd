//! Which stream of a connection is in whose hands. Pure.

use std::collections::BTreeMap;

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

/// Every stream that is open or whose end was not reported.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<u64, Slot>,
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

    pub(super) fn get_mut(&mut self, stream: u64) -> Option<&mut Slot> {
        self.slots.get_mut(&stream)
    }

    pub(super) fn set(&mut self, stream: u64, slot: Slot) {
        self.slots.insert(stream, slot);
    }

    pub(super) fn remove(&mut self, stream: u64) {
        self.slots.remove(&stream);
    }

    pub(super) fn park(&mut self, stream: u64, lane: LaneId, since: Instant) {
        self.parkings += 1;
        self.set(stream, Slot::Parked { lane, since, place: self.parkings });
    }

    /// Takes out everything that is not lent.
    pub(super) fn take_unlent(&mut self) -> impl Iterator<Item = u64> {
        self.slots.extract_if(.., |_, slot| !matches!(slot, Slot::Lent { .. })).map(|(stream, _)| stream)
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
        self.slots.values().filter(|slot| slot.lane() == Some(lane)).count()
    }

    pub(super) fn parked_for(&self, lane: LaneId) -> Option<u64> {
        self.parked().find(|(_, _, parked)| *parked == lane).map(|(_, stream, _)| stream)
    }

    /// The stream that was parked before all others, and its lane.
    pub(super) fn longest_parked(&self) -> Option<(u64, LaneId)> {
        self.parked().min().map(|(_, stream, lane)| (stream, lane))
    }

    /// The lowest: the peer takes every lower one for open as well, so they are used up from below.
    pub(super) fn idle(&self) -> Option<u64> {
        self.all_idle().next().map(|(stream, _)| stream)
    }

    /// All streams that are parked, with their lanes, and all that are idle.
    pub(super) fn unused(&self) -> (Vec<(u64, LaneId)>, Vec<u64>) {
        let parked = self.parked().map(|(_, stream, lane)| (stream, lane)).collect();
        (parked, self.all_idle().map(|(stream, _)| stream).collect())
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
        let surplus = self.all_idle().count().saturating_sub(keep);
        self.all_idle().filter(|(_, since)| *since <= before).take(surplus).map(|(stream, _)| stream).collect()
    }

    /// Since when the stream has not been used that will be finished first when nobody uses any; up to `keep` idle
    /// ones never are.
    pub(super) fn oldest_unused(&self, keep: usize) -> Option<Instant> {
        let parked = self.slots.values().filter_map(|slot| match slot {
            Slot::Parked { since, .. } => Some(*since),
            _ => None,
        });
        let has_surplus = self.all_idle().count() > keep;
        let idle = self.all_idle().map(|(_, since)| since).min().filter(|_| has_surplus);
        parked.chain(idle).min()
    }

    fn all_idle(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.slots.iter().filter_map(|(stream, slot)| match slot {
            Slot::Idle { since } => Some((*stream, *since)),
            _ => None,
        })
    }

    fn parked(&self) -> impl Iterator<Item = (u64, u64, LaneId)> {
        self.slots.iter().filter_map(|(stream, slot)| match *slot {
            Slot::Parked { lane, place, .. } => Some((place, *stream, lane)),
            _ => None,
        })
    }
}
