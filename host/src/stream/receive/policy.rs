//! How many data streams are taken at once, and how long they may wait.

use std::time::Duration;

#[cfg(doc)]
use crate::wire::SMALL_FRAME;
use crate::wire::{DEFAULT_MAX_MESSAGE, FRAME_OVERHEAD};

/// How many data streams are taken at once. See [`ReceivePolicy::default`] for the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivePolicy {
    /// Most of one connection.
    pub per_connection: usize,
    /// Most of one peer, over all its connections.
    pub per_peer: usize,
    /// Most of the node.
    pub per_node: usize,
    /// Bytes of frames above [`SMALL_FRAME`] that one connection puts together at once, the largest one that any
    /// protocol takes among them.
    pub assembly: usize,
    /// Most lanes whose order is remembered for one peer; the lowest idle ones are forgotten first.
    pub lanes_per_peer: usize,
    /// How long a stream waits for the set sequence in its header, and then for the generation in `after`.
    pub header_wait: Duration,
    /// Most frames that are handed over before the sender is told.
    pub progress_frames: u64,
    /// How long a stream is quiet before the sender is told of fewer.
    pub progress_delay: Duration,
}

impl ReceivePolicy {
    /// The default [`ReceivePolicy::assembly`] where protocols take messages of at most `max_message` bytes.
    pub fn assembly_for(max_message: u32) -> usize {
        // Four frames of the default size come at once; a frame that is larger than all of it still comes, alone.
        (4 << 20).max(max_message as usize + FRAME_OVERHEAD)
    }
}

impl Default for ReceivePolicy {
    fn default() -> Self {
        Self {
            // What hellos allow. A stream that is refused may overlap with the one whose end made room for it.
            per_connection: 64,
            // A connection and its replacement.
            per_peer: 128,
            // What 64 peers with one connection each may have.
            per_node: 4096,
            assembly: Self::assembly_for(DEFAULT_MAX_MESSAGE),
            // Every protocol that a set may hold, twice: lanes are made anew when a handler comes back.
            lanes_per_peer: 2048,
            // As long as the wire protocol allows.
            header_wait: Duration::from_secs(10),
            // A report costs about twenty bytes.
            progress_frames: 1024,
            // Often enough that a lost connection leaves little doubt, seldom enough to cost nothing.
            progress_delay: Duration::from_millis(100),
        }
    }
}
