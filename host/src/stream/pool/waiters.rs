//! Who waits for a stream, in the order in which they are served. Pure.

use std::collections::BTreeMap;

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

/// The queue; whoever has waited longest is first.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeMap<Place, Waiter>);

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, place: Place, lane: LaneId, deadline: Instant) {
        self.0.insert(place, Waiter { lane, deadline, made_room: false });
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.0.remove(&place);
    }

    pub(super) fn cancel(&mut self, waiter: WaiterId) {
        self.0.retain(|(_, id), _| *id != waiter);
    }

    pub(super) fn get(&self, place: Place) -> Option<&Waiter> {
        self.0.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Waiter> {
        self.0.get_mut(&place)
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Waiter)> {
        self.0.iter().map(|(place, waiter)| (*place, waiter))
    }

    /// Takes out those whose patience has ended.
    pub(super) fn take_late(&mut self, now: Instant) -> impl Iterator<Item = WaiterId> {
        self.0.extract_if(.., move |_, waiter| waiter.deadline <= now).map(|((_, id), _)| id)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = WaiterId> {
        std::mem::take(&mut self.0).into_keys().map(|(_, id)| id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(|waiter| waiter.deadline).min()
    }
}
