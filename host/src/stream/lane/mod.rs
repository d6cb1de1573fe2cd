//! The ordered outbound queue for one peer and protocol.

mod budget;
mod generation;
mod lanes;
mod limits;
mod queue;
mod shared;
mod state;
mod streams;
mod writer;

use std::fmt;
use std::sync::Arc;

pub use budget::{BudgetLimits, OutboundBudget};
pub use lanes::{Lanes, LanesConfig};
pub use limits::LaneLimits;
pub(crate) use queue::LARGE_BODY;
pub use queue::OutFrame;

use self::shared::Shared;
use self::state::LaneState;
use super::LaneId;
use crate::peer::PeerId;

/// The ordered outbound queue for one peer and protocol; cheap to clone.
///
/// No call waits, but for [`Lane::flush`]. What was pushed arrives in order and at most once, or is told as
/// undelivered; a message may be told as undelivered and arrive all the same when its report was lost.
#[derive(Clone)]
pub struct Lane(Arc<Shared>);

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
