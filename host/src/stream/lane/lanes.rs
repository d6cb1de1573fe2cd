//! Makes lanes, and knows what all of them share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::shared::Shared;
use super::{Lane, LaneLimits, OutboundBudget};
use crate::peer::PeerId;
use crate::stream::{LaneEvents, LaneId, SendStreamPoolManager};

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
    pub(super) pools: Arc<SendStreamPoolManager>,
    pub(super) config: LanesConfig,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
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
        Lane(Shared::new(id, peer, registration, Arc::clone(self), budget, events))
    }
}
