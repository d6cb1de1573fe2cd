//! The streams that one connection has to send on: opened ahead, lent, parked, and counted until they were read.

mod events;
mod lease;
mod opener;
mod policy;
mod slots;
mod state;
mod stats;
mod waiters;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::Instrument as _;

pub use lease::Lease;
pub use policy::PoolPolicy;
use state::{Action, Event, PoolState, WaiterId};
pub use stats::{PoolCounters, PoolStats};

use super::LaneId;
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::peer::PeerId;
use crate::transport::{Direction, SendStream};
use crate::wire::{Control, StreamOutcome};

/// Why no stream was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BorrowError {
    /// Every slot was taken until the deadline, most likely by streams that the peer has not read.
    #[error("no stream to the peer came free in time")]
    Busy,
    /// The pool drains or its connection is gone.
    #[error("the connection is closing")]
    Closed,
}

/// Who borrows streams, and hears what the peer reports about them for as long as they have a slot.
///
/// No lock of the pool is held during the calls.
pub trait Borrower: Send + Sync + 'static {
    /// Which lane; its parked stream is lent to it again.
    fn lane(&self) -> LaneId;

    /// The stream was finished between two frames: it ends whole, and the next one lent will be another.
    fn finished(&self, connection: ConnectionId, stream: u64);

    /// So many frames of the stream were handed over by now.
    fn progress(&self, connection: ConnectionId, stream: u64, frames: u64);

    /// The stream is over, after so many frames were handed over. Last of its stream.
    fn ended(&self, connection: ConnectionId, stream: u64, frames: u64, outcome: StreamOutcome);

    /// The connection is gone, and every stream of it.
    fn lost(&self, connection: ConnectionId);
}

/// The send streams of one connection; cheap to clone.
///
/// It can never wedge: every borrower has a deadline in the pool's own queue, one task opens streams and never
/// drops an open that is under way, a lease comes back when it is dropped, and whatever happens to a stream, its
/// slot is free when the peer reports its end or the connection is gone.
#[derive(Clone)]
pub struct SendStreamPool(Arc<Shared>);

struct Shared {
    connection: ConnectionHandle,
    inner: Mutex<Inner>,
    /// Wakes the pool's task: something is to be opened, or a deadline has changed.
    changed: Notify,
    /// Wakes whoever waits for the drain to be over.
    drained: Notify,
}

struct Inner {
    state: PoolState,
    /// Every stream that is not lent: idle, parked, and those whose end the peer has not reported (an abandoned
    /// stream that is dropped would end in mid-frame as if it were whole).
    streams: HashMap<u64, SendStream>,
    borrowers: HashMap<u64, Arc<dyn Borrower>>,
    /// Everybody whom the state knows as a waiter.
    waiting: HashMap<WaiterId, Waiting>,
    next_waiter: WaiterId,
    to_open: usize,
    /// When the pool's task looks at the deadlines next; earlier only when it is woken.
    next_look: Option<Instant>,
}

struct Waiting {
    borrower: Arc<dyn Borrower>,
    reply: oneshot::Sender<Result<Lease, BorrowError>>,
}

/// What follows from an event when the lock is released.
struct Decided {
    afterwards: Vec<Afterwards>,
    busy: bool,
    drained: bool,
}

/// What is done after the lock is released, because it may come back to the pool.
enum Afterwards {
    Reply(oneshot::Sender<Result<Lease, BorrowError>>, Result<Lease, BorrowError>),
    Finished(Arc<dyn Borrower>, u64),
    Abandon(u64),
    Drop(SendStream),
}

impl SendStreamPool {
    /// An empty pool, and the task that fills it: run it until it ends by itself, which it does when the pool
    /// was closed. Dropping it earlier leaves borrowers without deadlines.
    ///
    /// `peer_max` is what the peer's hello allows.
    pub fn new(
        connection: ConnectionHandle,
        policy: PoolPolicy,
        peer_max: u32,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let inner = Inner {
            state: PoolState::new(policy, peer_max),
            streams: HashMap::new(),
            borrowers: HashMap::new(),
            waiting: HashMap::new(),
            next_waiter: 0,
            to_open: 0,
            next_look: None,
        };
        let link = connection.link.clone();
        let (changed, drained) = (Notify::new(), Notify::new());
        let shared = Arc::new(Shared { connection, inner: Mutex::new(inner), changed, drained });
        shared.handle(Event::Start);
        let span = shared.connection.span.clone();
        (Self(Arc::clone(&shared)), opener::keep_filled(shared, link).instrument(span))
    }

    /// Whose connection.
    pub fn peer(&self) -> PeerId {
        self.0.connection.peer
    }

    /// Which connection.
    pub fn connection(&self) -> ConnectionId {
        self.0.connection.id
    }

    /// A stream for the borrower's lane: its own parked one, or a fresh one. Who has waited longest is served first,
    /// and `since` says since when this one has: now, or when it first asked of those times that were in vain.
    ///
    /// Cancel safe: a dropped call takes no stream with it.
    ///
    /// # Errors
    /// [`BorrowError::Busy`] at the deadline, [`BorrowError::Closed`] at once.
    pub async fn borrow(
        &self,
        borrower: Arc<dyn Borrower>,
        since: Instant,
        deadline: Instant,
    ) -> Result<Lease, BorrowError> {
        let (reply, mut outcome) = oneshot::channel();
        let lane = borrower.lane();
        let waiter = {
            let mut inner = self.0.lock();
            inner.next_waiter += 1;
            let waiter = inner.next_waiter;
            inner.waiting.insert(waiter, Waiting { borrower, reply });
            waiter
        };
        let _cancel = CancelOnDrop { shared: &self.0, waiter };
        self.0.handle(Event::Borrow { waiter, lane, since, deadline });
        if let Ok(outcome) = outcome.try_recv() {
            return outcome;
        }
        let outcome = outcome.await.unwrap_or(Err(BorrowError::Closed));
        if outcome.is_ok() {
            let (peer, connection, waited) = (self.peer(), self.connection().0, since.elapsed());
            self.0.connection.span.in_scope(|| {
                tracing::debug!(%peer, connection, lane = lane.0, ?waited, "a stream was lent late");
            });
        }
        outcome
    }

    /// The lane needs its parked stream no more: it is finished.
    pub fn release(&self, lane: LaneId) {
        self.0.handle(Event::Release { lane });
    }

    /// The peer reported so many frames of an open stream as handed over.
    pub fn progress(&self, stream: u64, frames: u64) {
        let borrower = self.0.lock().borrowers.get(&stream).cloned();
        if let Some(borrower) = borrower {
            borrower.progress(self.connection(), stream, frames);
        }
    }

    /// The peer reported the end of a stream: its slot is free.
    pub fn ended(&self, stream: u64, frames: u64, outcome: StreamOutcome) {
        let mut borrower = None;
        // A lease that comes back from now on is not lent again: its next borrower would never hear of this end.
        self.0.handle_with(Event::Reported { stream }, |inner| borrower = inner.borrowers.remove(&stream));
        // The lane before the slot: when that is free, its writer may go on at once, and must know what became of this.
        if let Some(borrower) = borrower {
            borrower.ended(self.connection(), stream, frames, outcome);
        }
        self.0.handle(Event::Ended { stream });
    }

    /// Lends nothing more and finishes everything; ready when the peer has reported the end of all streams, or
    /// the connection is gone. The caller brings the deadline. Cancel safe; the pool stays draining.
    pub async fn drain(&self) {
        self.0.handle(Event::Drain);
        loop {
            let drained = self.0.drained.notified();
            if self.0.lock().state.is_drained() {
                return;
            }
            drained.await;
        }
    }

    /// Begins to drain, without waiting for its end. What is returned tells borrowers, and so is called when no lock is
    /// held.
    pub(super) fn retire(&self) -> impl FnOnce() + use<> {
        let (shared, decided) = (Arc::clone(&self.0), self.0.decide(Event::Drain, |_| {}));
        move || shared.carry_out(decided)
    }

    /// Lends again after a drain that is wanted no more.
    pub(super) fn resume(&self) {
        self.0.handle(Event::Resume);
    }

    /// Whether nothing of it is under way: nothing is lent, and the peer has reported the end of all that was.
    pub(super) fn is_drained(&self) -> bool {
        self.0.lock().state.is_drained()
    }

    /// Whether this node dialed the connection.
    pub(super) fn is_dialed(&self) -> bool {
        self.0.connection.direction == Direction::Outbound
    }

    /// The connection is gone: denies every waiter, drops every stream and tells every borrower. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether it still lends.
    pub fn is_open(&self) -> bool {
        self.0.lock().state.is_open()
    }

    /// How many slots are in which state.
    pub fn stats(&self) -> PoolStats {
        self.0.lock().state.stats()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(self: &Arc<Self>, event: Event) {
        self.handle_with(event, |_| {});
    }

    /// Lets `prepare` put in place what the event speaks of, under the same lock.
    fn handle_with(self: &Arc<Self>, event: Event, prepare: impl FnOnce(&mut Inner)) {
        let decided = self.decide(event, prepare);
        self.carry_out(decided);
    }

    fn decide(self: &Arc<Self>, event: Event, prepare: impl FnOnce(&mut Inner)) -> Decided {
        let mut afterwards = Vec::new();
        let mut inner = self.lock();
        prepare(&mut inner);
        for action in inner.state.handle(event, Instant::now()) {
            afterwards.extend(self.act(&mut inner, action));
        }
        let sooner = |next| inner.next_look.is_none_or(|look| next < look);
        let busy = inner.to_open > 0 || inner.state.is_closed() || inner.state.next_deadline().is_some_and(sooner);
        Decided { afterwards, busy, drained: inner.state.is_drained() }
    }

    fn carry_out(&self, decided: Decided) {
        let Decided { afterwards, busy, drained } = decided;
        if busy {
            self.changed.notify_one();
        }
        if drained {
            self.drained.notify_waiters();
        }
        afterwards.into_iter().for_each(|what| self.finish_action(what));
    }

    fn act(self: &Arc<Self>, inner: &mut Inner, action: Action) -> Option<Afterwards> {
        match action {
            Action::Open => {
                inner.to_open += 1;
                None
            }
            Action::Lend { waiter, stream, fresh } => {
                let Waiting { borrower, reply } = inner.waiting.remove(&waiter)?;
                let taken = inner.streams.remove(&stream)?;
                inner.borrowers.insert(stream, borrower);
                let lease = Lease::new(Arc::clone(self), taken, fresh);
                Some(Afterwards::Reply(reply, Ok(lease)))
            }
            Action::Deny { waiter, why } => {
                let Waiting { reply, .. } = inner.waiting.remove(&waiter)?;
                Some(Afterwards::Reply(reply, Err(why)))
            }
            Action::Finish { stream } => {
                // Fails only when the peer stopped it, and then its report is under way all the same.
                let _ = inner.streams.get_mut(&stream)?.finish();
                inner.borrowers.get(&stream).map(|borrower| Afterwards::Finished(Arc::clone(borrower), stream))
            }
            Action::Abandon { stream } => Some(Afterwards::Abandon(stream)),
            Action::Forget { stream } => inner.streams.remove(&stream).map(Afterwards::Drop),
        }
    }

    fn finish_action(&self, what: Afterwards) {
        match what {
            // When nobody takes it, the lease is dropped here and so comes back.
            Afterwards::Reply(reply, outcome) => drop(reply.send(outcome)),
            Afterwards::Finished(borrower, stream) => borrower.finished(self.connection.id, stream),
            Afterwards::Abandon(stream) => self.connection.control.send(Control::Abandon { stream }),
            Afterwards::Drop(stream) => drop(stream),
        }
    }

    fn close(self: &Arc<Self>) {
        let mut borrowers = HashMap::new();
        self.handle_with(Event::Close, |inner| {
            inner.to_open = 0;
            borrowers = inner.borrowers.drain().map(|(_, borrower)| (borrower.lane(), borrower)).collect();
        });
        borrowers.into_values().for_each(|borrower| borrower.lost(self.connection.id));
    }
}

struct CancelOnDrop<'a> {
    shared: &'a Arc<Shared>,
    waiter: WaiterId,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let waiter = self.waiter;
        // Gone already when the wait came to its end; there is nothing to tell the state then.
        if self.shared.lock().waiting.contains_key(&waiter) {
            // Out of both under one lock: what the state lends to a waiter that nobody knows any more, nobody gives back.
            let mut cancelled = None;
            self.shared.handle_with(Event::Cancel { waiter }, |inner| cancelled = inner.waiting.remove(&waiter));
        }
    }
}
