//! The task that writes a lane's queue, for as long as there is something to write.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument as _;

use super::generation::StreamName;
use super::shared::{Next, Shared};
use super::state::LaneState;
use crate::stream::pool::Lease;
use crate::stream::{BorrowError, Borrower};

/// How long a writer waits for a stream, or for a connection, before it looks around again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a writer keeps its stream with nothing to write: longer than the pauses of a conversation, shorter
/// than a person notices that a slot is taken.
const LINGER: Duration = Duration::from_millis(20);

/// How much a lane writes on one stream, in bytes, and for how long, before others that wait for a slot have theirs:
/// some round trips on an ordinary link, because the slot is idle for one before the next lane has it.
const TURN_BYTES: usize = 1 << 20;
const TURN_TIME: Duration = Duration::from_millis(100);

/// Writes until nothing is queued.
pub(super) async fn run(lane: Arc<Shared>) {
    let mut stall = Stall::new(&lane);
    let mut waiting_since = None;
    while lane.keep_writing() {
        let since = *waiting_since.get_or_insert_with(Instant::now);
        let lease = tokio::select! {
            biased;
            lease = borrow(&lane, since) => lease,
            () = stall.over(&lane) => {
                lane.note(LaneState::give_up);
                None
            }
        };
        let Some(mut lease) = lease else { continue };
        waiting_since = None;
        let name = (lease.connection(), lease.stream());
        let span = lease.span();
        drive(&lane, name, &mut lease, &mut stall).instrument(span).await;
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

/// A stream of the lane's connection or of the least-loaded one; `None` when it is time to look around again.
async fn borrow(lane: &Arc<Shared>, since: Instant) -> Option<Lease> {
    let (pause, home) = {
        let inner = lane.lock();
        (inner.state.pause(), inner.state.home())
    };
    if let Some(pause) = pause {
        tokio::select! {
            biased;
            () = lane.stop.notified() => return None,
            () = sleep(pause) => {}
        }
    }
    let pools = &lane.lanes.pools;
    let mut additions = pools.additions();
    let Some(pool) = pools.pool_for(&lane.peer, home) else {
        tokio::select! {
            biased;
            () = lane.stop.notified() => {}
            _ = additions.changed() => {}
            () = sleep(PATIENCE) => {}
        }
        return None;
    };
    if let Some(home) = home.filter(|home| home.connection != pool.connection()) {
        // Finished first: the header of the next stream names it as the one to be read before.
        pools.release(home.connection, lane.id);
    }
    let connections = pools.of_peer(&lane.peer).len();
    let borrower = Arc::clone(lane) as Arc<dyn Borrower>;
    let mut lease = pin!(pool.borrow(borrower, since, Instant::now() + PATIENCE));
    loop {
        tokio::select! {
            biased;
            lease = &mut lease => {
                if let Err(BorrowError::Busy) = lease {
                    tracing::debug!(peer = %lane.peer, lane = lane.id.0, "no stream came free; the peer reads slowly");
                }
                return lease.ok();
            }
            () = lane.stop.notified() => return None,
            _ = additions.changed() => {
                if pools.of_peer(&lane.peer).len() > connections {
                    return None;
                }
            }
        }
    }
}

/// What a lane has had of a stream since it was lent.
struct Turn {
    began: Instant,
    bytes: usize,
}

impl Turn {
    fn begin() -> Self {
        Self { began: Instant::now(), bytes: 0 }
    }

    /// Whether the stream goes back, if there is something left to write or not.
    fn is_over(&self, lease: &Lease) -> bool {
        let had_its_share = self.bytes >= TURN_BYTES || self.began.elapsed() >= TURN_TIME;
        lease.is_recalled() || (had_its_share && lease.is_wanted())
    }
}

/// Writes on one stream until nothing is queued for a while, the lane's turn is over, or the stream is the lane's no
/// more.
async fn drive(lane: &Shared, name: StreamName, lease: &mut Lease, stall: &mut Stall) {
    let mut fresh = lease.is_fresh();
    let mut turn = Turn::begin();
    loop {
        if !fresh && turn.is_over(lease) {
            return;
        }
        let mut batch = match lane.next(name, fresh) {
            Next::Write(batch) => batch,
            Next::Wait if !lease.is_wanted() && linger(lane).await => continue,
            Next::Wait | Next::Over => return,
        };
        fresh = false;
        turn.bytes += batch.bytes;
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
