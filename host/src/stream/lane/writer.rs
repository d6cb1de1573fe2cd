//! The task that writes a lane's queue, for as long as there is something to write.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::generation::StreamName;
use super::state::LaneState;
use super::{Next, Shared};
use crate::stream::pool::Lease;
use crate::stream::{BorrowError, Borrower};

/// How long a writer waits for a stream, or for a connection, before it looks around again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a writer keeps its stream with nothing to write: longer than the pauses of a conversation, shorter
/// than a person notices that a slot is taken.
const LINGER: Duration = Duration::from_millis(20);

/// Writes until nothing is queued.
pub(super) async fn run(lane: Arc<Shared>) {
    let mut stall = Stall::new(&lane);
    while lane.keep_writing() {
        let lease = tokio::select! {
            biased;
            lease = borrow(&lane) => lease,
            () = stall.over(&lane) => {
                lane.note(LaneState::give_up);
                None
            }
        };
        let Some(mut lease) = lease else { continue };
        let name = (lease.connection(), lease.stream());
        drive(&lane, name, &mut lease, &mut stall).await;
        if lane.lock().state.is_current(name) {
            drop(lease);
        } else {
            lease.finish();
        }
        // The lane may have been closed just as the stream was parked.
        if lane.lock().state.is_closed() {
            lane.release();
        }
    }
}

/// Watches whether the peer takes anything.
struct Stall {
    patience: Duration,
    moves: u64,
    /// When the peer was last seen to have taken something.
    moved: Instant,
    /// When to look again.
    look: Instant,
}

impl Stall {
    fn new(lane: &Shared) -> Self {
        let (patience, now) = (lane.budget.patience(), Instant::now());
        Self { patience, moves: 0, moved: now, look: now + patience / 4 }
    }

    /// Ready when the peer has taken nothing for too long and others wait for the room that its lane holds: what is
    /// shared must not be held for ever. Cancel safe.
    async fn over(&mut self, lane: &Shared) {
        loop {
            sleep_until(self.look).await;
            let (moves, now) = (lane.lock().state.moves(), Instant::now());
            self.look = now + self.patience / 4;
            if std::mem::replace(&mut self.moves, moves) != moves {
                self.moved = now;
            } else if now - self.moved >= self.patience && lane.budget.is_short() {
                tracing::info!(peer = %lane.peer, lane = lane.id.0, "gave up what the peer does not take");
                self.moved = now;
                return;
            }
        }
    }
}

/// A stream of the least-loaded connection; `None` when it is time to look around again.
async fn borrow(lane: &Arc<Shared>) -> Option<Lease> {
    let pause = lane.lock().state.pause();
    if let Some(pause) = pause {
        tokio::select! {
            biased;
            () = lane.stop.notified() => return None,
            () = sleep(pause) => {}
        }
    }
    let mut additions = lane.lanes.pools.additions();
    let Some(pool) = lane.lanes.pools.best(&lane.peer) else {
        tokio::select! {
            biased;
            () = lane.stop.notified() => {}
            _ = additions.changed() => {}
            () = sleep(PATIENCE) => {}
        }
        return None;
    };
    let borrower = Arc::clone(lane) as Arc<dyn Borrower>;
    tokio::select! {
        biased;
        lease = pool.borrow(borrower, Instant::now() + PATIENCE) => {
            if let Err(BorrowError::Busy) = lease {
                tracing::debug!(peer = %lane.peer, lane = lane.id.0, "no stream came free; the peer reads slowly");
            }
            lease.ok()
        }
        () = lane.stop.notified() => None,
    }
}

/// Writes on one stream until nothing is queued for a while, or the stream is the lane's no more.
async fn drive(lane: &Shared, name: StreamName, lease: &mut Lease, stall: &mut Stall) {
    let mut fresh = lease.is_fresh();
    loop {
        let mut batch = match lane.next(name, fresh) {
            Next::Write(batch) => batch,
            Next::Wait if linger(lane).await => continue,
            Next::Wait | Next::Over => return,
        };
        fresh = false;
        let outcome = {
            let mut write = pin!(lease.write(&mut batch.pieces));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut write => break Some(outcome),
                    () = lane.stop.notified() => {
                        if !lane.lock().state.is_current(name) {
                            break None;
                        }
                    }
                    () = stall.over(lane) => {
                        lane.note(LaneState::give_up);
                        break None;
                    }
                }
            }
        };
        lane.settle(name, batch, outcome.as_ref().and_then(|outcome| outcome.as_ref().err()));
        match outcome {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(peer = %lane.peer, lane = lane.id.0, %error, "a stream of the lane is over");
                return;
            }
            None => return,
        }
    }
}

/// Whether something came up in time.
async fn linger(lane: &Shared) -> bool {
    tokio::select! {
        biased;
        () = lane.work.notified() => true,
        () = lane.stop.notified() => true,
        () = sleep(LINGER) => false,
    }
}
