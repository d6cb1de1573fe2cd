//! Who waits for a stream, in the order in which they are served. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use crate::stream::LaneId;

/// Names a waiter; never used twice within a pool.
pub(super) type WaiterId = u64;

/// The place in the queue. Whoever waited in vain before asks again with the time at which it began to wait: else
/// those whose patience ends just before their turn would never have one.
pub(super) type Place = (Instant, WaiterId);

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) lane: LaneId,
    pub(super) deadline: Instant,
    /// Whether a parked stream was finished for this one: at most one each, so that a crowd of waiters cannot
    /// end every lane's stream at once, and a wait that failed makes room for the next.
    pub(super) made_room: bool,
}

/// The queue; whoever has waited longest is first. No question costs more for a crowd than for a few.
#[derive(Debug)]
pub(super) struct Waiters {
    /// How many streams a lane may have.
    cap: usize,
    queue: BTreeMap<Place, Waiter>,
    since: HashMap<WaiterId, Instant>,
    lanes: HashMap<LaneId, BTreeSet<Place>>,
    deadlines: BTreeSet<(Instant, Place)>,
    /// Σ over lanes: its waiters, but no more than its cap.
    claims: usize,
}

impl Waiters {
    /// Of lanes that may have `cap` streams each.
    pub(super) fn new(cap: usize) -> Self {
        let (queue, since, lanes, deadlines) = Default::default();
        Self { cap, queue, since, lanes, deadlines, claims: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn add(&mut self, place: Place, lane: LaneId, deadline: Instant) {
        let of_lane = self.lanes.entry(lane).or_default();
        self.claims += usize::from(of_lane.len() < self.cap);
        of_lane.insert(place);
        self.since.insert(place.1, place.0);
        self.deadlines.insert((deadline, place));
        self.queue.insert(place, Waiter { lane, deadline, made_room: false });
    }

    pub(super) fn remove(&mut self, place: Place) {
        let Some(Waiter { lane, deadline, .. }) = self.queue.remove(&place) else { return };
        self.since.remove(&place.1);
        self.deadlines.remove(&(deadline, place));
        if let Some(of_lane) = self.lanes.get_mut(&lane) {
            of_lane.remove(&place);
            self.claims -= usize::from(of_lane.len() < self.cap);
            if of_lane.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }

    pub(super) fn cancel(&mut self, waiter: WaiterId) {
        if let Some(since) = self.since.get(&waiter) {
            self.remove((*since, waiter));
        }
    }

    pub(super) fn get(&self, place: Place) -> Option<&Waiter> {
        self.queue.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Waiter> {
        self.queue.get_mut(&place)
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Waiter)> {
        self.queue.iter().map(|(place, waiter)| (*place, waiter))
    }

    /// The first that waits for this lane.
    pub(super) fn first_of(&self, lane: LaneId) -> Option<Place> {
        self.lanes.get(&lane)?.first().copied()
    }

    /// Waiters that wait for a free slot and not for the end of their own lane's streams, when lanes have so many: those
    /// that have some.
    pub(super) fn hungry(&self, holders: impl Iterator<Item = (LaneId, usize)>) -> usize {
        let sated = holders.map(|(lane, held)| {
            let waiting = self.lanes.get(&lane).map_or(0, BTreeSet::len).min(self.cap);
            waiting - waiting.min(self.cap.saturating_sub(held))
        });
        self.claims - sated.sum::<usize>()
    }

    /// Takes out those whose patience has ended.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<WaiterId> {
        let mut late = Vec::new();
        while let Some(&(_, place)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now) {
            self.remove(place);
            late.push(place.1);
        }
        late
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = WaiterId> {
        let all = std::mem::replace(self, Self::new(self.cap));
        all.queue.into_keys().map(|(_, id)| id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
