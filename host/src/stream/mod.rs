//! Streams: pools of them, the lanes that write them and the readers that take them in.
//!
//! A data stream carries one protocol for its whole life, so a handler that falls behind holds up its own
//! stream by QUIC's flow control and nothing else. Upward this layer knows three traits and no protocol:
//!
//! - [`Inlet`] finds the owner of an incoming stream, [`Outlet`] takes its frames;
//! - [`LaneEvents`] hears what became of what was pushed on a [`Lane`].
//!
//! And one towards the connections: [`WantsConnection`] is asked for another one to a busy
//! peer, and to close one that is needed no more.

pub mod lane;
pub mod pool;
mod pool_manager;
pub mod receive;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use lane::{BudgetLimits, Lane, LaneLimits, Lanes, LanesConfig, OutFrame, OutboundBudget};
pub use pool::{BorrowError, Borrower, Lease, PoolCounters, PoolPolicy, PoolStats, SendStreamPool};
pub use pool_manager::{Home, LoadPolicy, PoolTotals, SendStreamPoolManager, WantsConnection};
pub use receive::{ReceivePolicy, ReceiveStats, ReceiveStreamManager, RefusedBy};

use crate::peer::PeerId;
use crate::wire::{Frame, StopCode, StreamHeader};

/// Names a lane: the number in its stream headers, never used twice within an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u64);

/// What [`Inlet::open`] returns.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Outlet>, StopCode>> + Send + 'a>>;

/// What [`Outlet::deliver`] returns.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), StopCode>> + Send + 'a>>;

/// Finds the owner of a data stream by its header.
pub trait Inlet: Send + Sync + 'static {
    /// Waits until the set sequence of the header has been applied, then looks up the registration.
    ///
    /// The future is dropped after [`ReceivePolicy::header_wait`] (the stream is then stopped with
    /// `OutOfSequence`) and when the stream ends otherwise; both must be harmless.
    ///
    /// # Errors
    /// The code to stop the stream with: `Unregistered` for an unknown number.
    fn open<'a>(&'a self, peer: PeerId, header: &'a StreamHeader) -> Opening<'a>;
}

/// Takes the frames of one data stream.
pub trait Outlet: Send + Sync + 'static {
    /// Largest body it takes, in bytes; a larger frame stops the stream with `TooLarge`.
    fn max_message(&self) -> u32;

    /// Takes frames in order, at least one. While it waits, the stream is not read, and its sender feels it.
    ///
    /// When the future is dropped before it is ready, none of the frames may have been taken: the count that
    /// the sender is told, and so its `undelivered`, relies on it.
    ///
    /// # Errors
    /// The code to stop the stream with. None of the frames was taken then.
    fn deliver(&self, frames: Vec<Frame>) -> Delivery<'_>;

    /// Cancelled when the registration is gone: the stream is stopped at once with [`Outlet::close_code`].
    fn closed(&self) -> CancellationToken;

    /// Why it was closed.
    fn close_code(&self) -> StopCode {
        StopCode::Unregistered
    }
}

/// Hears what becomes of what was pushed on a lane. Calls come one after the other, never two at once, from
/// within a call to the lane or from a task of its own. None may wait, call the lane, or take a lock that its
/// owner holds while it calls the lane.
pub trait LaneEvents: Send + Sync + 'static {
    /// The lane is above its soft limit, its owner's budget has no room for it, or the peer takes nothing from it.
    /// Alternates with `relieved`.
    fn congested(&self);

    /// The lane is below half of its soft limit again, and its owner's budget has room.
    fn relieved(&self);

    /// So many messages, beyond those told before, can no longer be counted on to arrive; an upper bound.
    fn undelivered(&self, messages: u64);
}
