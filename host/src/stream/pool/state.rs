//! Who holds which stream of a connection, and who waits for one. Pure: events in, actions out.
//!
//! Invariants, held after every event and tested over random sequences of them:
//!
//! - idle + lent + parked + ending + opening = total ≤ max;
//! - nobody waits who could be served: a waiter whose lane is below its cap only while no stream is idle, and
//!   none whose lane has a parked stream;
//! - every waiter gets exactly one outcome, a lend or a denial, unless it cancels;
//! - a stream that was written to keeps its slot until the peer reported its end: QUIC frees it no earlier;
//! - closing wakes everybody, and doing it again changes nothing.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{BorrowError, PoolPolicy};
use crate::stream::LaneId;

/// Names a waiter; never used twice within a pool. The lowest is served first.
pub(super) type WaiterId = u64;

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The connection is up.
    Start,
    /// Somebody wants a stream for a lane.
    Borrow { waiter: WaiterId, lane: LaneId, deadline: Instant },
    /// A waiter is not interested any more.
    Cancel { waiter: WaiterId },
    /// An asked-for stream is open.
    Opened { stream: u64 },
    /// A lease came back.
    Returned { stream: u64, condition: Condition },
    /// The lane needs its parked stream no more.
    Release { lane: LaneId },
    /// The peer reported the end of a stream, and its lane is about to hear: it is lent no more, but keeps its slot.
    Reported { stream: u64 },
    /// The peer reported the end of a stream, and its lane knows.
    Ended { stream: u64 },
    /// Time passed.
    Tick { now: Instant },
    /// Lend nothing more, finish everything.
    Drain,
    /// The connection is gone.
    Close,
}

/// What to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Open one more stream; answered by `Opened` or `Close`.
    Open,
    /// Hand the stream to the waiter.
    Lend { waiter: WaiterId, stream: u64, fresh: bool },
    /// Tell the waiter that it gets none.
    Deny { waiter: WaiterId, why: BorrowError },
    /// Write the stream's end, and keep it.
    Finish { stream: u64 },
    /// Tell the peer that the stream is given up, and keep it.
    Abandon { stream: u64 },
    /// Drop the stream.
    Forget { stream: u64 },
}

/// How a lease came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing was ever written to the stream.
    Unused,
    /// Between two frames.
    Clean,
    /// Between two frames, and its lane wants it finished.
    Finished,
    /// Perhaps inside a frame.
    Dirty,
    /// Stopped by the peer.
    Failed,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Idle,
    Lent { lane: LaneId, end: End },
    Parked { lane: LaneId, since: u64 },
    Ending { lane: LaneId },
}

/// What the peer has said about the end of a lent stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing.
    Open,
    /// It is over; the lane is about to hear.
    Reported,
    /// It is over, and the lane knows.
    Told,
}

#[derive(Debug)]
struct Waiter {
    lane: LaneId,
    deadline: Instant,
    /// Whether a parked stream was finished for this one: at most one each, so that a crowd of waiters cannot
    /// end every lane's stream at once, and a wait that failed makes room for the next.
    made_room: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Closed,
}

/// How many slots are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Open and unused.
    pub idle: usize,
    /// In the hands of a lane.
    pub lent: usize,
    /// Kept for the lane that used them last.
    pub parked: usize,
    /// Finished, abandoned or stopped; the peer has not reported their end yet.
    pub ending: usize,
    /// Being opened.
    pub opening: usize,
    /// Waiting for a stream.
    pub waiters: usize,
    /// Most slots.
    pub max: usize,
}

impl PoolStats {
    /// Slots taken.
    pub fn total(&self) -> usize {
        self.idle + self.lent + self.parked + self.ending + self.opening
    }
}

#[derive(Debug)]
pub(super) struct PoolState {
    policy: PoolPolicy,
    max: usize,
    phase: Phase,
    slots: BTreeMap<u64, Slot>,
    opening: usize,
    /// Somebody waited in vain for what is being opened: the peer may allow fewer streams than it said. Until
    /// nothing is being opened any more, nobody else is left to wait for that alone.
    stalled: bool,
    waiters: BTreeMap<WaiterId, Waiter>,
    parkings: u64,
}

impl PoolState {
    /// A pool of at most `max` streams: the smaller of the policy's limit and the peer's.
    pub(super) fn new(policy: PoolPolicy, peer_max: u32) -> Self {
        let max = policy.max.min(peer_max as usize);
        let (slots, waiters) = (BTreeMap::new(), BTreeMap::new());
        Self { policy, max, phase: Phase::Open, slots, opening: 0, stalled: false, waiters, parkings: 0 }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => self.open(self.policy.init, &mut actions),
            Event::Borrow { waiter, lane, deadline } => {
                self.waiters.insert(waiter, Waiter { lane, deadline, made_room: false });
            }
            Event::Cancel { waiter } => drop(self.waiters.remove(&waiter)),
            Event::Opened { stream } => self.opened(stream, &mut actions),
            Event::Returned { stream, condition } => self.returned(stream, condition, &mut actions),
            Event::Release { lane } => {
                if let Some(stream) = self.parked_for(lane) {
                    self.finish(stream, lane, &mut actions);
                }
            }
            Event::Reported { stream } => self.reported(stream, &mut actions),
            Event::Ended { stream } => self.ended(stream, &mut actions),
            Event::Tick { now } => self.tick(now, &mut actions),
            Event::Drain => self.drain(&mut actions),
            Event::Close => self.close(&mut actions),
        }
        self.settle(&mut actions);
        actions
    }

    /// When `Tick` is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiters.values().map(|waiter| waiter.deadline).min()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether nothing is lent and the peer has reported the end of everything that was written.
    pub(super) fn is_drained(&self) -> bool {
        let stats = self.stats();
        self.phase == Phase::Closed || (self.phase == Phase::Draining && stats.lent + stats.ending == 0)
    }

    pub(super) fn stats(&self) -> PoolStats {
        let mut stats =
            PoolStats { opening: self.opening, waiters: self.waiters.len(), max: self.max, ..PoolStats::default() };
        for slot in self.slots.values() {
            match slot {
                Slot::Idle => stats.idle += 1,
                Slot::Lent { .. } => stats.lent += 1,
                Slot::Parked { .. } => stats.parked += 1,
                Slot::Ending { .. } => stats.ending += 1,
            }
        }
        stats
    }

    fn opened(&mut self, stream: u64, actions: &mut Vec<Action>) {
        self.opening = self.opening.saturating_sub(1);
        self.stalled &= self.opening > 0;
        if self.is_open() {
            self.slots.insert(stream, Slot::Idle);
        } else {
            actions.push(Action::Forget { stream });
        }
    }

    fn returned(&mut self, stream: u64, condition: Condition, actions: &mut Vec<Action>) {
        let Some(&Slot::Lent { lane, end }) = self.slots.get(&stream) else {
            return actions.push(Action::Forget { stream });
        };
        if end == End::Told || self.is_closed() || (condition == Condition::Unused && !self.is_open()) {
            self.slots.remove(&stream);
            return actions.push(Action::Forget { stream });
        }
        if end == End::Reported {
            // Its end follows, and frees the slot: then the lane knows what became of it.
            self.slots.insert(stream, Slot::Ending { lane });
            return;
        }
        match condition {
            Condition::Unused => drop(self.slots.insert(stream, Slot::Idle)),
            Condition::Clean if self.is_open() => {
                self.parkings += 1;
                self.slots.insert(stream, Slot::Parked { lane, since: self.parkings });
            }
            Condition::Clean | Condition::Finished => self.finish(stream, lane, actions),
            Condition::Dirty => {
                self.slots.insert(stream, Slot::Ending { lane });
                actions.push(Action::Abandon { stream });
            }
            // Its report is under way: the peer sends it with its STOP_SENDING.
            Condition::Failed => drop(self.slots.insert(stream, Slot::Ending { lane })),
        }
    }

    fn finish(&mut self, stream: u64, lane: LaneId, actions: &mut Vec<Action>) {
        self.slots.insert(stream, Slot::Ending { lane });
        actions.push(Action::Finish { stream });
    }

    fn reported(&mut self, stream: u64, actions: &mut Vec<Action>) {
        match self.slots.get_mut(&stream) {
            Some(Slot::Lent { end, .. }) if *end == End::Open => *end = End::Reported,
            Some(Slot::Parked { lane, .. }) => {
                let lane = *lane;
                self.slots.insert(stream, Slot::Ending { lane });
            }
            // No lane is concerned. A peer sees an idle one as soon as a later one is used, and may refuse it.
            Some(Slot::Idle) => {
                self.slots.remove(&stream);
                actions.push(Action::Forget { stream });
            }
            Some(Slot::Lent { .. } | Slot::Ending { .. }) | None => {}
        }
    }

    fn ended(&mut self, stream: u64, actions: &mut Vec<Action>) {
        match self.slots.get_mut(&stream) {
            // Whoever holds it gives it back soon; until then it is not ours to drop.
            Some(Slot::Lent { end, .. }) => *end = End::Told,
            Some(_) => {
                self.slots.remove(&stream);
                actions.push(Action::Forget { stream });
            }
            None => {}
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let waited = |waiter: &WaiterId| self.waiters.get(waiter).is_some_and(|waiter| waiter.deadline <= now);
        self.stalled |= self.opening > 0 && self.hungry().iter().any(waited);
        let late = self.waiters.extract_if(.., |_, waiter| waiter.deadline <= now);
        actions.extend(late.map(|(waiter, _)| Action::Deny { waiter, why: BorrowError::Busy }));
    }

    fn drain(&mut self, actions: &mut Vec<Action>) {
        if !self.is_open() {
            return;
        }
        self.phase = Phase::Draining;
        for (stream, slot) in self.slots.clone() {
            match slot {
                Slot::Idle => {
                    self.slots.remove(&stream);
                    actions.push(Action::Forget { stream });
                }
                Slot::Parked { lane, .. } => self.finish(stream, lane, actions),
                Slot::Lent { .. } | Slot::Ending { .. } => {}
            }
        }
    }

    fn close(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Closed;
        (self.opening, self.stalled) = (0, false);
        let ours = self.slots.extract_if(.., |_, slot| !matches!(slot, Slot::Lent { .. }));
        actions.extend(ours.map(|(stream, _)| Action::Forget { stream }));
    }

    /// Serves who can be served, then opens what is missing, then makes room.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        if !self.is_open() {
            let all = std::mem::take(&mut self.waiters).into_keys();
            return actions.extend(all.map(|waiter| Action::Deny { waiter, why: BorrowError::Closed }));
        }
        for waiter in self.waiters.keys().copied().collect::<Vec<_>>() {
            let Some(lane) = self.waiters.get(&waiter).map(|waiter| waiter.lane) else { continue };
            let parked = self.parked_for(lane);
            let Some(stream) = parked.or_else(|| self.idle_for(lane)) else { continue };
            self.waiters.remove(&waiter);
            self.slots.insert(stream, Slot::Lent { lane, end: End::Open });
            actions.push(Action::Lend { waiter, stream, fresh: parked.is_none() });
        }
        let hungry = self.hungry();
        let spare = (self.stats().idle + self.opening).saturating_sub(hungry.len());
        if self.started() && spare <= self.policy.low_water {
            let missing = hungry.len().saturating_sub(self.opening);
            self.open(missing + self.policy.batch, actions);
        }
        self.make_room(&hungry, actions);
    }

    /// Nothing is opened ahead before `Start`.
    fn started(&self) -> bool {
        self.opening > 0 || !self.slots.is_empty() || !self.waiters.is_empty()
    }

    fn open(&mut self, count: usize, actions: &mut Vec<Action>) {
        let count = count.min(self.max.saturating_sub(self.slots.len() + self.opening));
        self.opening += count;
        actions.extend(std::iter::repeat_n(Action::Open, count));
    }

    /// Finishes the longest-parked stream for each waiter that no opening stream will serve; one that somebody has
    /// waited for in vain may never come, and so counts for nobody. It is not lent to
    /// another lane: bytes of the first that the peer has not read would hold up the second.
    fn make_room(&mut self, hungry: &[WaiterId], actions: &mut Vec<Action>) {
        let coming = if self.stalled { 0 } else { self.opening };
        for waiter in hungry.iter().skip(coming) {
            let Some(waiter) = self.waiters.get_mut(waiter).filter(|waiter| !waiter.made_room) else { continue };
            let parked = self.slots.iter().filter_map(|(stream, slot)| match slot {
                Slot::Parked { lane, since } => Some((*since, *stream, *lane)),
                _ => None,
            });
            let Some((_, stream, lane)) = parked.min() else { return };
            waiter.made_room = true;
            self.finish(stream, lane, actions);
        }
    }

    /// Waiters that wait for a free slot and not for the end of their own lane's streams.
    fn hungry(&self) -> Vec<WaiterId> {
        let mut claimed = BTreeMap::<LaneId, usize>::new();
        let below_cap = |waiter: &Waiter| {
            let count = claimed.entry(waiter.lane).or_insert_with(|| self.held_by(waiter.lane));
            *count += 1;
            *count <= self.policy.streams_per_lane
        };
        let mut below_cap = below_cap;
        self.waiters.iter().filter(|(_, waiter)| below_cap(waiter)).map(|(id, _)| *id).collect()
    }

    fn held_by(&self, wanted: LaneId) -> usize {
        let of_lane = |slot: &&Slot| match slot {
            Slot::Idle => false,
            Slot::Lent { lane, .. } | Slot::Parked { lane, .. } | Slot::Ending { lane } => *lane == wanted,
        };
        self.slots.values().filter(of_lane).count()
    }

    fn parked_for(&self, wanted: LaneId) -> Option<u64> {
        let of_lane = |slot: &Slot| matches!(slot, Slot::Parked { lane, .. } if *lane == wanted);
        self.slots.iter().find(|(_, slot)| of_lane(slot)).map(|(stream, _)| *stream)
    }

    fn idle_for(&self, lane: LaneId) -> Option<u64> {
        if self.held_by(lane) >= self.policy.streams_per_lane {
            return None;
        }
        self.slots.iter().find(|(_, slot)| matches!(slot, Slot::Idle)).map(|(stream, _)| *stream)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
