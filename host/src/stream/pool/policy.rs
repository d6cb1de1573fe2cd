//! How many streams a pool holds, and for how long.

use std::time::Duration;

/// How many streams a pool holds. See [`PoolPolicy::default`] for the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolPolicy {
    /// Opened as soon as the connection is up, and kept open, unclaimed, however long nobody needs them.
    pub init: usize,
    /// When no more than this many are open and unclaimed, a batch is opened.
    pub low_water: usize,
    /// Opened at once, beyond what is waited for.
    pub batch: usize,
    /// Most streams in every state together; the peer's own limit counts when it is lower.
    pub max: usize,
    /// Most streams that one lane has at once, those included that the peer has not finished reading.
    pub streams_per_lane: usize,
    /// How long a stream is parked without use, or unclaimed beyond what is kept, before it is finished.
    pub idle_for: Duration,
}

impl PoolPolicy {
    /// How many unclaimed streams are kept whatever happens: fewer would be opened anew at once.
    pub(super) fn keep(&self) -> usize {
        self.init.max(self.low_water + 1)
    }
}

impl Default for PoolPolicy {
    fn default() -> Self {
        Self {
            // Opening costs no packet; what is open already saves a new lane one wait for the opener.
            init: 4,
            low_water: 1,
            batch: 2,
            // Each slot is a stream window and a send buffer in the node's memory bound.
            max: 64,
            // Order needs no more, and a peer that leaves a protocol unread then ties up one slot.
            streams_per_lane: 1,
            // A stream that was used holds buffers on both sides; to open another costs a header of 60 bytes.
            idle_for: Duration::from_secs(60),
        }
    }
}
