//! What a lane's owner, its writer and the pools share: the state behind its lock, and who is told what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::generation::StreamName;
use super::queue::Batch;
use super::state::{LaneState, News};
use super::{Lanes, OutboundBudget};
use crate::connection::ConnectionId;
use crate::peer::PeerId;
use crate::stream::{Borrower, LaneEvents, LaneId};
use crate::transport::StreamError;
use crate::wire::{StreamHeader, StreamOutcome};

pub(super) struct Shared {
    /// To be woken by the budget.
    me: Weak<Self>,
    pub(super) id: LaneId,
    pub(super) peer: PeerId,
    /// The peer's number of the handler that it writes to.
    registration: u64,
    pub(super) lanes: Arc<Lanes>,
    pub(super) budget: Arc<OutboundBudget>,
    events: Arc<dyn LaneEvents>,
    /// Taken before the budget's lock, never after it.
    inner: Mutex<Inner>,
    /// Wakes the writer: something was queued.
    pub(super) work: Notify,
    /// Wakes the writer: its stream may not be the lane's any more.
    pub(super) stop: Notify,
    /// Wakes whoever flushes.
    pub(super) flushed: Notify,
}

pub(super) struct Inner {
    pub(super) state: LaneState,
    /// Whether a writer runs.
    pub(super) writing: bool,
    /// Whether somebody is telling the news: whoever comes in between leaves theirs to them, so that the news
    /// are told in order and no lock is held meanwhile.
    telling: bool,
}

/// What a writer finds when it asks for more.
pub(super) enum Next {
    /// These, after the header where there is one.
    Write(Batch),
    /// Nothing now.
    Wait,
    /// The stream is not the lane's any more.
    Over,
}

impl Shared {
    pub(super) fn new(
        id: LaneId,
        peer: PeerId,
        registration: u64,
        lanes: Arc<Lanes>,
        budget: Arc<OutboundBudget>,
        events: Arc<dyn LaneEvents>,
    ) -> Arc<Self> {
        let state = LaneState::new(lanes.config.limits);
        let inner = Mutex::new(Inner { state, writing: false, telling: false });
        let [work, stop, flushed] = std::array::from_fn(|_| Notify::new());
        Arc::new_cyclic(|weak| Self {
            me: Weak::clone(weak),
            id,
            peer,
            registration,
            lanes,
            budget,
            events,
            inner,
            work,
            stop,
            flushed,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the writer may be busy with, and lets it look again.
    pub(super) fn change(&self, change: impl FnOnce(&mut LaneState)) {
        self.note(change);
        self.stop.notify_one();
    }

    /// Changes the state, and tells everybody but the writer.
    pub(super) fn note(&self, change: impl FnOnce(&mut LaneState)) {
        Self::wake(self.update(change));
    }

    /// Changes the state, and tells everybody but the writer and the lanes that it returns.
    fn update(&self, change: impl FnOnce(&mut LaneState)) -> Vec<Weak<Self>> {
        let (flushed, woken) = {
            let mut inner = self.lock();
            change(&mut inner.state);
            (inner.state.is_flushed(), self.balance(&mut inner.state, false))
        };
        if flushed {
            self.flushed.notify_waiters();
        }
        self.tell();
        woken
    }

    pub(super) fn balance(&self, state: &mut LaneState, asked: bool) -> Vec<Weak<Self>> {
        state.balance(self.id, asked, &mut self.budget.lock(), || self.me.clone())
    }

    /// Lets lanes know that their owner's budget has room again. Called with no lock held.
    pub(super) fn wake(mut woken: Vec<Weak<Self>>) {
        while let Some(lane) = woken.pop() {
            if let Some(lane) = lane.upgrade() {
                woken.extend(lane.update(|state| state.starve(false)));
            }
        }
    }

    /// Lets the pools finish what is parked for this lane.
    pub(super) fn release(&self) {
        for pool in self.lanes.pools.of_peer(&self.peer) {
            pool.release(self.id);
        }
    }

    /// Tells the news, unless somebody is at it: then they go on with ours.
    pub(super) fn tell(&self) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.telling, true) {
            return;
        }
        while let Some(news) = inner.state.next_news() {
            drop(inner);
            match news {
                News::Congested => self.events.congested(),
                News::Relieved => self.events.relieved(),
                News::Undelivered(messages) => self.events.undelivered(messages),
            }
            inner = self.lock();
        }
        inner.telling = false;
    }

    /// Whether a writer is still needed; when not, the next push starts another.
    pub(super) fn keep_writing(&self) -> bool {
        let mut inner = self.lock();
        inner.writing = inner.state.has_work();
        if !inner.writing {
            inner.state.shrink();
        }
        inner.writing
    }

    pub(super) fn next(&self, name: StreamName, fresh: bool) -> Next {
        let mut inner = self.lock();
        let state = &mut inner.state;
        if !fresh && !state.is_current(name) {
            return Next::Over;
        }
        if !state.has_work() {
            return if state.is_current(name) { Next::Wait } else { Next::Over };
        }
        let header = fresh.then(|| self.header(state, name));
        if !state.is_current(name) {
            return Next::Over;
        }
        let mut batch = state.take(name);
        if let Some(header) = header {
            batch.prepend(header);
        }
        Next::Write(batch)
    }

    fn header(&self, state: &mut LaneState, name: StreamName) -> Bytes {
        // Asked first: a registration of the peer is never newer than the set it was learned from, and ours
        // only grows, so a later number would merely make the receiver wait for it.
        let sequence = (self.lanes.config.sequence)();
        let opened = state.open(name);
        if let Some(from) = opened.moved_from {
            self.lanes.pools.moved(self.peer, self.id, from, name.0);
        }
        let header = StreamHeader {
            registration: self.registration,
            sequence,
            incarnation: self.lanes.config.incarnation,
            lane: self.id.0,
            generation: opened.generation,
            after: opened.after,
        };
        let mut bytes = BytesMut::with_capacity(crate::wire::MAX_HEADER + 1);
        header.encode(&mut bytes);
        bytes.freeze()
    }

    /// Notes what became of a write.
    pub(super) fn settle(&self, name: StreamName, batch: Batch, error: Option<&StreamError>) {
        self.note(|state| {
            match error {
                Some(StreamError::Link(_)) => state.lost(name.0),
                Some(StreamError::Stopped(code)) => state.failed(name, Some(*code)),
                Some(StreamError::Ended(_)) => state.failed(name, None),
                None => {}
            }
            state.settle(name, batch);
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let charged = self.lock().state.charged();
        let woken = {
            let mut budget = self.budget.lock();
            budget.change(charged, 0);
            budget.leave(self.id);
            budget.woken()
        };
        Self::wake(woken);
    }
}

impl Borrower for Shared {
    fn lane(&self) -> LaneId {
        self.id
    }

    fn finished(&self, connection: ConnectionId, stream: u64) {
        self.change(|state| state.finished((connection, stream)));
    }

    fn progress(&self, connection: ConnectionId, stream: u64, frames: u64) {
        let settled = {
            let mut inner = self.lock();
            inner.state.progress((connection, stream), frames);
            inner.state.is_settled()
        };
        if settled {
            self.flushed.notify_waiters();
        }
    }

    fn ended(&self, connection: ConnectionId, stream: u64, frames: u64, outcome: StreamOutcome) {
        self.change(|state| state.ended((connection, stream), frames, outcome));
    }

    fn lost(&self, connection: ConnectionId) {
        self.change(|state| state.lost(connection));
    }
}
