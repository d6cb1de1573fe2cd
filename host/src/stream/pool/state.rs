//! Who holds which stream of a connection, and who waits for one. Pure: events in, actions out.
//!
//! Invariants, held after every event and tested over random sequences of them:
//!
//! - idle + lent + parked + ending + opening = total ≤ max, which is at most what the peer allows;
//! - nobody waits who could be served: a waiter whose lane is below its cap only while no stream is idle, and
//!   none whose lane has a parked stream;
//! - while somebody waits for a slot, streams are being opened or all slots are taken;
//! - every waiter gets exactly one outcome, a lend or a denial, unless it cancels;
//! - a stream that was written to or finished keeps its slot until the peer reported its end: QUIC frees it no earlier;
//! - what is not needed goes: after `idle_for` without an event, nothing is parked and no more than `keep` are idle;
//! - closing wakes everybody, and doing it again changes nothing.

use tokio::time::Instant;

pub(super) use super::events::{Action, Condition, Event};
pub(super) use super::waiters::WaiterId;

use super::slots::{End, Slot, Slots};
use super::waiters::{Place, Waiters};
use super::{BorrowError, PoolCounters, PoolPolicy, PoolStats};
use crate::stream::LaneId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Closed,
}

#[derive(Debug)]
pub(super) struct PoolState {
    policy: PoolPolicy,
    max: usize,
    phase: Phase,
    slots: Slots,
    opening: usize,
    /// Somebody waited in vain for what is being opened: the peer may allow fewer streams than it said. Until
    /// nothing is being opened any more, nobody else is left to wait for that alone.
    stalled: bool,
    waiters: Waiters,
    /// Somebody waits for a slot that only a lane at work can give up.
    short: bool,
    counters: PoolCounters,
}

impl PoolState {
    /// A pool of at most `max` streams: the smaller of the policy's limit and the peer's.
    pub(super) fn new(policy: PoolPolicy, peer_max: u32) -> Self {
        let max = policy.max.min(peer_max as usize);
        let (slots, waiters) = (Slots::default(), Waiters::new(policy.streams_per_lane));
        let (phase, counters) = (Phase::Open, PoolCounters::default());
        Self { policy, max, phase, slots, opening: 0, stalled: false, waiters, short: false, counters }
    }

    pub(super) fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut asked = None;
        match event {
            Event::Start => self.open(self.policy.init, &mut actions),
            Event::Borrow { waiter, lane, since, deadline } => {
                self.waiters.add((since, waiter), lane, deadline);
                asked = Some(waiter);
            }
            Event::Cancel { waiter } => self.waiters.cancel(waiter),
            Event::Opened { stream } => self.opened(stream, now, &mut actions),
            Event::Returned { stream, condition } => self.returned(stream, condition, now, &mut actions),
            Event::Release { lane } => {
                if let Some(stream) = self.slots.parked_for(lane) {
                    self.finish(stream, Some(lane), &mut actions);
                }
            }
            Event::Reported { stream } => self.reported(stream, &mut actions),
            Event::Ended { stream } => self.ended(stream, &mut actions),
            Event::Tick => self.tick(now, &mut actions),
            Event::Drain => self.drain(&mut actions),
            Event::Resume if self.phase == Phase::Draining => self.phase = Phase::Open,
            Event::Resume => {}
            Event::Close => self.close(&mut actions),
        }
        self.settle(asked, &mut actions);
        self.short = self.is_open() && self.without_room().is_some();
        actions
    }

    /// When `Tick` is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let unused = self.slots.oldest_unused(self.policy.keep()).filter(|_| self.is_open());
        let shrink = unused.and_then(|since| since.checked_add(self.policy.idle_for));
        [self.waiters.next_deadline(), shrink].into_iter().flatten().min()
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

    /// Whether somebody waits for a slot that only a lane at work can give up.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    pub(super) fn stats(&self) -> PoolStats {
        let (opening, waiters, counters) = (self.opening, self.waiters.len(), self.counters);
        let mut stats = PoolStats { opening, waiters, max: self.max, counters, ..PoolStats::default() };
        self.slots.count(&mut stats);
        stats
    }

    fn opened(&mut self, stream: u64, now: Instant, actions: &mut Vec<Action>) {
        self.opening = self.opening.saturating_sub(1);
        self.stalled &= self.opening > 0;
        if self.is_open() {
            self.counters.opened += 1;
            self.slots.set(stream, Slot::Idle { since: now });
        } else {
            actions.push(Action::Forget { stream });
        }
    }

    fn returned(&mut self, stream: u64, condition: Condition, now: Instant, actions: &mut Vec<Action>) {
        let Some(Slot::Lent { lane, end }) = self.slots.get(stream) else {
            return actions.push(Action::Forget { stream });
        };
        match condition {
            Condition::Dirty => self.counters.abandoned += 1,
            Condition::Failed => self.counters.stopped += 1,
            Condition::Unused | Condition::Clean | Condition::Finished => {}
        }
        if end == End::Told || self.is_closed() || (condition == Condition::Unused && !self.is_open()) {
            self.slots.remove(stream);
            return actions.push(Action::Forget { stream });
        }
        let ending = Slot::Ending { lane: Some(lane) };
        if end == End::Reported {
            // Its end follows, and frees the slot: then the lane knows what became of it.
            return self.slots.set(stream, ending);
        }
        match condition {
            Condition::Unused => self.slots.set(stream, Slot::Idle { since: now }),
            Condition::Clean if self.is_open() => self.slots.park(stream, lane, now),
            Condition::Clean | Condition::Finished => self.finish(stream, Some(lane), actions),
            Condition::Dirty => {
                self.slots.set(stream, ending);
                actions.push(Action::Abandon { stream });
            }
            // Its report is under way: the peer sends it with its STOP_SENDING.
            Condition::Failed => self.slots.set(stream, ending),
        }
    }

    fn finish(&mut self, stream: u64, lane: Option<LaneId>, actions: &mut Vec<Action>) {
        self.slots.set(stream, Slot::Ending { lane });
        actions.push(Action::Finish { stream });
    }

    fn reported(&mut self, stream: u64, actions: &mut Vec<Action>) {
        match self.slots.get(stream) {
            Some(Slot::Lent { lane, end: End::Open }) => {
                self.slots.set(stream, Slot::Lent { lane, end: End::Reported });
            }
            Some(Slot::Parked { lane, .. }) => self.slots.set(stream, Slot::Ending { lane: Some(lane) }),
            // No lane is concerned. A peer sees an idle one as soon as a later one is used, and may refuse it.
            Some(Slot::Idle { .. }) => {
                self.slots.remove(stream);
                actions.push(Action::Forget { stream });
            }
            Some(Slot::Lent { .. } | Slot::Ending { .. }) | None => {}
        }
    }

    fn ended(&mut self, stream: u64, actions: &mut Vec<Action>) {
        match self.slots.get(stream) {
            // Whoever holds it gives it back soon; until then it is not ours to drop.
            Some(Slot::Lent { lane, .. }) => self.slots.set(stream, Slot::Lent { lane, end: End::Told }),
            Some(_) => {
                self.slots.remove(stream);
                actions.push(Action::Forget { stream });
            }
            None => {}
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let late = |place| self.waiters.get(place).is_some_and(|waiter| waiter.deadline <= now);
        let is_late = self.waiters.next_deadline().is_some_and(|deadline| deadline <= now);
        self.stalled |= self.opening > 0 && is_late && self.hungry().any(late);
        for waiter in self.waiters.take_late(now) {
            self.counters.denied += 1;
            actions.push(Action::Deny { waiter, why: BorrowError::Busy });
        }
        if self.is_open() {
            self.shrink(now, actions);
        }
    }

    /// Finishes what nobody has used for long. An unused stream ends without a byte, which the peer reports like any
    /// other end: only then its slot is free.
    fn shrink(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(before) = now.checked_sub(self.policy.idle_for) else { return };
        let parked = self.slots.parked_before(before).into_iter().map(|(stream, lane)| (stream, Some(lane)));
        let idle = self.slots.surplus_before(before, self.policy.keep()).into_iter().map(|stream| (stream, None));
        for (stream, lane) in parked.chain(idle) {
            self.counters.shrunk += 1;
            self.finish(stream, lane, actions);
        }
    }

    fn drain(&mut self, actions: &mut Vec<Action>) {
        if !self.is_open() {
            return;
        }
        self.phase = Phase::Draining;
        let (parked, idle) = self.slots.unused();
        for (stream, lane) in parked {
            self.finish(stream, Some(lane), actions);
        }
        // Nobody will need their slots.
        for stream in idle {
            self.slots.remove(stream);
            actions.push(Action::Forget { stream });
        }
    }

    fn close(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Closed;
        (self.opening, self.stalled) = (0, false);
        actions.extend(self.slots.take_unlent().into_iter().map(|stream| Action::Forget { stream }));
    }

    /// Serves who can be served, then opens what is missing, then makes room.
    fn settle(&mut self, asked: Option<WaiterId>, actions: &mut Vec<Action>) {
        if !self.is_open() {
            let denied = self.waiters.take_all();
            return actions.extend(denied.map(|waiter| Action::Deny { waiter, why: BorrowError::Closed }));
        }
        while let Some((place, lane)) = self.servable() {
            let parked = self.slots.parked_for(lane);
            let Some(stream) = parked.or_else(|| self.idle_for(lane)) else { break };
            let (_, waiter) = place;
            self.waiters.remove(place);
            self.slots.set(stream, Slot::Lent { lane, end: End::Open });
            self.counters.lent += 1;
            self.counters.late += u64::from(asked != Some(waiter));
            actions.push(Action::Lend { waiter, stream, fresh: parked.is_none() });
        }
        let hungry = self.waiters.hungry(self.slots.holders());
        let spare = (self.slots.all_idle() + self.opening).saturating_sub(hungry);
        if self.started() && spare <= self.policy.low_water {
            self.open(hungry.saturating_sub(self.opening) + self.policy.batch, actions);
        }
        self.make_room(actions);
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

    /// The first waiter that can be served. Those before it wait for the end of their own lanes' streams, and there are no
    /// more of these than slots.
    fn servable(&self) -> Option<(Place, LaneId)> {
        let place = match self.slots.idle() {
            None => self.slots.parkers().filter_map(|lane| self.waiters.first_of(lane)).min(),
            Some(_) => {
                let can = |lane| self.slots.parked_for(lane).or_else(|| self.idle_for(lane)).is_some();
                self.waiters.iter().find(|(_, waiter)| can(waiter.lane)).map(|(place, _)| place)
            }
        }?;
        self.waiters.get(place).map(|waiter| (place, waiter.lane))
    }

    /// Finishes the longest-parked stream for each waiter that no opening stream will serve. It is not lent to
    /// another lane: bytes of the first that the peer has not read would hold up the second.
    fn make_room(&mut self, actions: &mut Vec<Action>) {
        while let Some((stream, lane)) = self.slots.longest_parked() {
            let Some(waiter) = self.without_room().and_then(|place| self.waiters.get_mut(place)) else { return };
            waiter.made_room = true;
            self.counters.displaced += 1;
            self.finish(stream, Some(lane), actions);
        }
    }

    /// Waiters that wait for a free slot and not for the end of their own lane's streams, in order.
    fn hungry(&self) -> impl Iterator<Item = Place> {
        let mut claimed = std::collections::BTreeMap::<LaneId, usize>::new();
        let mut below_cap = move |lane: LaneId| {
            let count = claimed.entry(lane).or_insert_with(|| self.slots.held_by(lane));
            *count += 1;
            *count <= self.policy.streams_per_lane
        };
        self.waiters.iter().filter(move |(_, waiter)| below_cap(waiter.lane)).map(|(place, _)| place)
    }

    /// The first of them that no opening stream will serve and that no room was made for. An opening stream that somebody
    /// has waited for in vain may never come, and so counts for nobody.
    fn without_room(&self) -> Option<Place> {
        let coming = if self.stalled { 0 } else { self.opening };
        let no_room_made = |place: &Place| self.waiters.get(*place).is_some_and(|waiter| !waiter.made_room);
        self.hungry().skip(coming).find(no_room_made)
    }

    fn idle_for(&self, lane: LaneId) -> Option<u64> {
        if self.slots.held_by(lane) >= self.policy.streams_per_lane { None } else { self.slots.idle() }
    }
}

#[cfg(test)]
#[path = "state_tests/mod.rs"]
mod tests;
