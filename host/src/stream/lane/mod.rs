//! The ordered outbound queue for one peer and protocol.

mod budget;
mod generation;
mod queue;
mod state;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use budget::{BudgetLimits, OutboundBudget};
pub use queue::OutFrame;
pub use state::LaneLimits;
use state::{LaneState, News};

use self::generation::StreamName;
use self::queue::Batch;
use super::{Borrower, LaneEvents, LaneId, SendStreamPoolManager};
use crate::connection::ConnectionId;
use crate::peer::PeerId;
use crate::transport::StreamError;
use crate::wire::{StreamHeader, StreamOutcome};

/// What all lanes of a node share.
pub struct LanesConfig {
    /// This node's incarnation.
    pub incarnation: u64,
    /// The sequence of this node's protocol set, asked whenever a stream is opened.
    pub sequence: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How much a lane queues.
    pub limits: LaneLimits,
}

/// Makes lanes, and draws their numbers.
pub struct Lanes {
    pools: Arc<SendStreamPoolManager>,
    config: LanesConfig,
    tasks: TaskTracker,
    runtime: Handle,
    drawn: AtomicU64,
}

impl Lanes {
    /// Lanes that borrow from `pools`, whose writers run on `runtime` and are tracked by `tasks`. A writer ends
    /// soon after its lane was closed.
    pub fn new(
        pools: Arc<SendStreamPoolManager>,
        config: LanesConfig,
        tasks: TaskTracker,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self { pools, config, tasks, runtime, drawn: AtomicU64::new(0) })
    }

    /// A new lane to the handler that the peer registered as `registration`; what it queues counts in `budget`. It
    /// must be closed in the end: a lane that is only dropped goes on until its queue is empty.
    pub fn open(
        self: &Arc<Self>,
        peer: PeerId,
        registration: u64,
        budget: Arc<OutboundBudget>,
        events: Arc<dyn LaneEvents>,
    ) -> Lane {
        let id = LaneId(self.drawn.fetch_add(1, Ordering::Relaxed) + 1);
        let state = LaneState::new(registration, self.config.limits);
        let inner = Inner { state, writing: false, telling: false };
        Lane(Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            id,
            peer,
            lanes: Arc::clone(self),
            budget,
            events,
            inner: Mutex::new(inner),
            work: Notify::new(),
            stop: Notify::new(),
            flushed: Notify::new(),
        }))
    }
}

/// The ordered outbound queue for one peer and protocol; cheap to clone.
///
/// No call waits, but for [`Lane::flush`]. What was pushed arrives in order and at most once, or is told as
/// undelivered; a message may be told as undelivered and arrive all the same when its report was lost.
#[derive(Clone)]
pub struct Lane(Arc<Shared>);

struct Shared {
    /// To be woken by the budget.
    me: Weak<Self>,
    id: LaneId,
    peer: PeerId,
    lanes: Arc<Lanes>,
    budget: Arc<OutboundBudget>,
    events: Arc<dyn LaneEvents>,
    /// Taken before the budget's lock, never after it.
    inner: Mutex<Inner>,
    /// Wakes the writer: something was queued.
    work: Notify,
    /// Wakes the writer: its stream may not be the lane's any more.
    stop: Notify,
    /// Wakes whoever flushes.
    flushed: Notify,
}

struct Inner {
    state: LaneState,
    /// Whether a writer runs.
    writing: bool,
    /// Whether somebody is telling the news: whoever comes in between leaves theirs to them, so that the news
    /// are told in order and no lock is held meanwhile.
    telling: bool,
}

impl Lane {
    /// The number in its stream headers.
    pub fn id(&self) -> LaneId {
        self.0.id
    }

    /// To whom.
    pub fn peer(&self) -> PeerId {
        self.0.peer
    }

    /// Bytes that may be queued below the soft limits of the lane and of its owner's budget. Whoever finds 0 hears
    /// `relieved` once there is some, or the lane is closed.
    pub fn room(&self) -> usize {
        let (room, woken) = {
            let mut inner = self.0.lock();
            let woken = self.0.balance(&mut inner.state, true);
            (inner.state.room(&self.0.budget.lock()), woken)
        };
        if room == 0 {
            self.0.tell();
        }
        Shared::wake(woken);
        room
    }

    /// A sender found too little room: it is told `relieved` when there is some, at once if there is already.
    pub fn wants_room(&self) {
        // Where there is none, asking was enough.
        if self.room() > 0 {
            self.0.note(LaneState::refused);
        }
    }

    /// Whether so many answers wait that no more requests of the peer should be taken.
    pub fn is_clogged(&self) -> bool {
        self.0.lock().state.is_clogged()
    }

    /// What all lanes of its owner may queue together.
    pub fn budget(&self) -> &Arc<OutboundBudget> {
        &self.0.budget
    }

    /// Queues frames, in order. Messages above a hard limit or on a closed lane are told as undelivered;
    /// answers go above it by as much again and are refused as `busy` beyond, refusals and withdrawals always fit. Returns the ids of the requests that were not taken.
    pub fn push(&self, frames: Vec<OutFrame>) -> Vec<u64> {
        let (refused, start, woken) = {
            let mut inner = self.0.lock();
            inner.state.reserve(&frames, &mut self.0.budget.lock());
            let refused = inner.state.push(frames);
            let woken = self.0.balance(&mut inner.state, true);
            let start = inner.state.has_work() && !inner.writing;
            inner.writing |= start;
            (refused, start, woken)
        };
        if start {
            let writer = writer::run(Arc::clone(&self.0));
            self.0.lanes.tasks.spawn_on(writer, &self.0.lanes.runtime);
        } else {
            self.0.work.notify_one();
        }
        self.0.tell();
        Shared::wake(woken);
        refused
    }

    /// The peer registered the protocol anew, under this number. What was queued for the handler before is
    /// undelivered; the lane goes on with a new stream, also when it was stopped as unregistered.
    pub fn retarget(&self, registration: u64) {
        self.0.change(|state| state.retarget(registration));
        self.0.release();
    }

    /// Ends the lane for good: what is queued is undelivered; its stream is finished, or abandoned when the peer
    /// does not read it. What was written and not reported is still told, until the connection is gone.
    pub fn close(&self) {
        self.0.change(LaneState::close);
        self.0.release();
    }

    /// Ready when nothing is queued any more: written, or undelivered. The caller brings the deadline. Cancel
    /// safe.
    pub async fn flush(&self) {
        loop {
            let flushed = self.0.flushed.notified();
            if self.0.lock().state.is_flushed() {
                return;
            }
            flushed.await;
        }
    }
}

impl Lane {
    /// Ready when everything that was pushed was handed over, by the peer's own report, or is undelivered. The caller
    /// brings the deadline. Cancel safe.
    pub async fn settled(&self) {
        loop {
            let changed = self.0.flushed.notified();
            if self.0.lock().state.is_settled() {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({} to {:?})", self.0.id.0, self.0.peer)
    }
}

/// What a writer finds when it asks for more.
enum Next {
    /// These, after the header where there is one.
    Write(Batch),
    /// Nothing now.
    Wait,
    /// The stream is not the lane's any more.
    Over,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the writer may be busy with, and lets it look again.
    fn change(&self, change: impl FnOnce(&mut LaneState)) {
        self.note(change);
        self.stop.notify_one();
    }

    /// Changes the state, and tells everybody but the writer.
    fn note(&self, change: impl FnOnce(&mut LaneState)) {
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

    fn balance(&self, state: &mut LaneState, asked: bool) -> Vec<Weak<Self>> {
        state.balance(self.id, asked, &mut self.budget.lock(), || self.me.clone())
    }

    /// Lets lanes know that their owner's budget has room again. Called with no lock held.
    fn wake(mut woken: Vec<Weak<Self>>) {
        while let Some(lane) = woken.pop() {
            if let Some(lane) = lane.upgrade() {
                woken.extend(lane.update(|state| state.starve(false)));
            }
        }
    }

    /// Lets the pools finish what is parked for this lane.
    fn release(&self) {
        for pool in self.lanes.pools.of_peer(&self.peer) {
            pool.release(self.id);
        }
    }

    /// Tells the news, unless somebody is at it: then they go on with ours.
    fn tell(&self) {
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
    fn keep_writing(&self) -> bool {
        let mut inner = self.lock();
        inner.writing = inner.state.has_work();
        if !inner.writing {
            inner.state.shrink();
        }
        inner.writing
    }

    fn next(&self, name: StreamName, fresh: bool) -> Next {
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
        let header = StreamHeader {
            registration: opened.registration,
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
    fn settle(&self, name: StreamName, batch: Batch, error: Option<&StreamError>) {
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
