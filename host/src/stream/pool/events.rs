//! What a pool's state hears, and what it says to do.

use tokio::time::Instant;

use super::BorrowError;
use super::waiters::WaiterId;
use crate::stream::LaneId;

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The connection is up.
    Start,
    /// Somebody wants a stream for a lane, and has since then.
    Borrow { waiter: WaiterId, lane: LaneId, since: Instant, deadline: Instant },
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
    Tick,
    /// Lend nothing more, finish everything.
    Drain,
    /// It is needed again after all.
    Resume,
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
