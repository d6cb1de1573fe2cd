//! What a lane decides: what fits, what is written next, and what its owner is told. Pure.
//!
//! Invariants, tested over random sequences:
//!
//! - every message pushed is handed over by the peer's report, still queued or under way, or counted in
//!   `undelivered`; what is counted without being lost is only what the peer did not report in time;
//! - what a stream has taken is never written again;
//! - `congested` and `relieved` alternate, and nobody finds the room used up without hearing both.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::BudgetState;
use super::generation::StreamName;
use super::limits::LaneLimits;
use super::queue::{Batch, OutFrame, Queue};
use super::streams::{Opened, Streams};
use crate::connection::ConnectionId;
use crate::stream::{Home, LaneId};
use crate::wire::{Failure, StopCode, StreamOutcome};

/// Most bytes of one gather write: room appears in steps of this size while the peer reads.
const MAX_WRITE: usize = 256 << 10;

/// What the lane's owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Congested,
    Relieved,
    Undelivered(u64),
}

/// What the peer hears instead of an answer that did not fit.
fn unread() -> Failure {
    Failure { code: "busy".into(), message: "too many answers wait to be read; read faster or ask less".into() }
}

#[derive(Debug)]
pub(super) struct LaneState {
    limits: LaneLimits,
    /// Counts how often the queue was given up, and with it what a write under way leaves.
    epoch: u64,
    /// Stopped as unregistered, for good: a new registration gets a new lane.
    stopped: bool,
    closed: bool,
    queue: Queue,
    /// Bytes of the batch under way.
    in_flight: usize,
    /// Bytes counted in the owner's budget: what is used, and during a push what was reserved for it.
    charged: usize,
    /// The owner's budget had no room when the lane was last asked.
    starved: bool,
    congested: bool,
    toggles: VecDeque<News>,
    undelivered: u64,
    streams: Streams,
}

impl LaneState {
    pub(super) fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            epoch: 0,
            stopped: false,
            closed: false,
            queue: Queue::default(),
            in_flight: 0,
            charged: 0,
            starved: false,
            congested: false,
            toggles: VecDeque::new(),
            undelivered: 0,
            streams: Streams::default(),
        }
    }

    /// Bytes that may be queued below the soft limits of the lane and of its owner.
    pub(super) fn room<W>(&self, budget: &BudgetState<W>) -> usize {
        let used = self.used();
        if self.takes_any() { self.limits.soft.saturating_sub(used).min(budget.room(used)) } else { 0 }
    }

    /// Sets aside what the frames may take of the owner's budget; [`LaneState::push`] follows.
    pub(super) fn reserve<W>(&mut self, frames: &[OutFrame], budget: &mut BudgetState<W>) {
        let (mut wanted, mut always) = (0, 0);
        for frame in frames {
            *(if frame.always_fits() { &mut always } else { &mut wanted }) += frame.cost();
        }
        self.charged += budget.reserve(wanted, always);
    }

    /// Brings the owner's budget up to date with what the lane holds; whom to wake. When somebody `asked` for room
    /// and there is none, the lane waits for the budget, too.
    pub(super) fn balance<W>(
        &mut self,
        id: LaneId,
        asked: bool,
        budget: &mut BudgetState<W>,
        wake: impl FnOnce() -> W,
    ) -> Vec<W> {
        let used = self.used();
        budget.change(self.charged, used);
        self.charged = used;
        let (idle, short) = (used == 0, budget.room(used) == 0);
        // Who has waited goes on until it is woken, or has nothing left that is in its own way.
        let starved = self.takes_any() && if self.starved { short || !idle } else { asked && short };
        if starved {
            budget.wait(id, idle, wake);
        } else {
            budget.leave(id);
        }
        self.starve(starved);
        budget.woken()
    }

    /// Whether the lane waits for its owner's budget.
    pub(super) fn starve(&mut self, starved: bool) {
        if starved != self.starved {
            self.starved = starved;
            self.weigh();
        }
    }

    /// What is counted in the owner's budget.
    pub(super) fn charged(&self) -> usize {
        self.charged
    }

    /// Grows whenever the peer takes something.
    pub(super) fn moves(&self) -> u64 {
        self.streams.moves()
    }

    /// Gives up what is queued and the stream with it, for other lanes to have the room.
    pub(super) fn give_up(&mut self) {
        self.streams.leave();
        self.give_up_queue();
        self.weigh();
    }

    /// A sender was refused by what it saw of the lane, which may have drained since: it hears `congested` and
    /// `relieved` as if the lane had been full.
    pub(super) fn refused(&mut self) {
        if !self.congested && !self.closed {
            self.congested = true;
            self.toggles.push_back(News::Congested);
            self.weigh();
        }
    }

    /// Queues frames. Messages that do not fit are undelivered; the ids of requests that do not are returned.
    pub(super) fn push(&mut self, frames: Vec<OutFrame>) -> Vec<u64> {
        let mut refused = Vec::new();
        for frame in frames {
            let fits = self.used() + frame.cost() <= self.limits.hard.min(self.charged);
            match &frame {
                OutFrame::Message(_) if !fits || !self.takes_any() => self.undelivered += 1,
                OutFrame::Request { id, .. } if !fits || !self.takes_any() => refused.push(*id),
                // A peer that asks and does not read must not make us hold its answers without end.
                OutFrame::Answer { id, .. } if self.takes_any() && self.used() + frame.cost() > self.most_answers() => {
                    self.queue.push(&OutFrame::Refusal { id: *id, failure: unread() });
                }
                // Otherwise the peer's requests are limited instead of their answers.
                _ if self.takes_any() => self.queue.push(&frame),
                _ => {}
            }
        }
        self.weigh();
        refused
    }

    /// Whether answers, which may go above the hard limit by as much again, have used that up, too.
    pub(super) fn is_clogged(&self) -> bool {
        self.used() >= self.most_answers()
    }

    fn most_answers(&self) -> usize {
        2 * self.limits.hard
    }

    /// Whether a writer has something to do.
    pub(super) fn has_work(&self) -> bool {
        self.takes_any() && !self.queue.is_empty()
    }

    /// Whether nothing is queued or under way.
    pub(super) fn is_flushed(&self) -> bool {
        self.used() == 0
    }

    /// Whether nothing is queued, under way, or written and not reported.
    pub(super) fn is_settled(&self) -> bool {
        self.is_flushed() && self.streams.is_confirmed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A fresh stream is in hand: what its header says.
    pub(super) fn open(&mut self, name: StreamName) -> Opened {
        self.streams.open(name)
    }

    /// Whether a writer with this stream may go on.
    pub(super) fn is_current(&self, name: StreamName) -> bool {
        self.takes_any() && self.streams.is_current(name)
    }

    /// See [`Streams::home`].
    pub(super) fn home(&self) -> Option<Home> {
        self.streams.home()
    }

    /// What to write next on the stream; to be brought back by [`LaneState::settle`].
    pub(super) fn take(&mut self, name: StreamName) -> Batch {
        let mut batch = self.queue.take(MAX_WRITE);
        batch.epoch = self.epoch;
        self.in_flight = batch.bytes;
        if !batch.is_empty() {
            self.streams.writes(name);
        }
        batch
    }

    /// A write came to its end or was dropped: notes what was taken and puts back the rest.
    pub(super) fn settle(&mut self, name: StreamName, mut batch: Batch) {
        self.in_flight = 0;
        self.undelivered += self.streams.wrote(name, batch.taken());
        if batch.epoch == self.epoch && self.takes_any() {
            self.queue.put_back(batch);
        } else {
            let mut rest = Queue::default();
            batch.bytes = 0;
            rest.put_back(batch);
            self.undelivered += rest.clear();
        }
        self.weigh();
    }

    /// The writer found the stream over; what of it is lost is known when the peer reports its end.
    pub(super) fn failed(&mut self, name: StreamName, code: Option<StopCode>) {
        self.streams.failed(name);
        if code == Some(StopCode::Unregistered) && self.streams.has(name) {
            self.stopped = true;
            self.give_up_queue();
            self.weigh();
        }
    }

    /// The stream was finished between two frames.
    pub(super) fn finished(&mut self, name: StreamName) {
        self.streams.finished(name);
    }

    /// The peer has handed over so many frames of the stream.
    pub(super) fn progress(&mut self, name: StreamName, frames: u64) {
        self.streams.progress(name, frames);
    }

    /// The peer reported the end of the stream.
    pub(super) fn ended(&mut self, name: StreamName, frames: u64, outcome: StreamOutcome) {
        if let StreamOutcome::Stopped(code) = outcome {
            self.failed(name, Some(code));
        }
        self.undelivered += self.streams.ended(name, frames, outcome);
    }

    /// The connection is gone, and all its streams.
    pub(super) fn lost(&mut self, connection: ConnectionId) {
        self.undelivered += self.streams.lost(connection);
    }

    /// Nothing is taken any more, for good.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.streams.leave();
        self.give_up_queue();
        self.weigh();
    }

    /// See [`Streams::pause`].
    pub(super) fn pause(&self) -> Option<Duration> {
        self.streams.pause()
    }

    /// Gives back memory that only a busy lane needs.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
    }

    /// What to tell next; each is told once.
    pub(super) fn next_news(&mut self) -> Option<News> {
        if self.undelivered > 0 {
            return Some(News::Undelivered(std::mem::take(&mut self.undelivered)));
        }
        self.toggles.pop_front()
    }

    fn takes_any(&self) -> bool {
        !self.stopped && !self.closed
    }

    fn used(&self) -> usize {
        self.queue.bytes() + self.in_flight
    }

    fn give_up_queue(&mut self) {
        self.epoch += 1;
        self.undelivered += self.queue.clear();
    }

    fn weigh(&mut self) {
        let used = self.used();
        let congested = match self.congested {
            false => self.stopped || self.starved || used >= self.limits.soft,
            true => self.stopped || self.starved || used >= self.limits.soft / 2,
        };
        if congested == self.congested || self.closed {
            return;
        }
        self.congested = congested;
        self.toggles.push_back(if congested { News::Congested } else { News::Relieved });
        // There and back is told, because a sender may have seen the room used up in between; more is not.
        if self.toggles.len() > 2 {
            self.toggles.drain(..2);
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
