//! What gossip has done since its instance started.

use serde::Serialize;

/// Counts since the instance started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// Items this node made.
    pub broadcast: u64,
    /// Items pushed, each receiver counted, and their bytes.
    pub pushed: u64,
    /// See `pushed`.
    pub pushed_bytes: u64,
    /// Items that peers pushed or handed over: copies, good or bad.
    pub received: u64,
    /// Those of them that were known.
    pub duplicates: u64,
    /// What the plugin decided.
    pub accepted: u64,
    /// See `accepted`.
    pub ignored: u64,
    /// See `accepted`.
    pub rejected: u64,
    /// Items that waited for a decision for too long, or found no room to.
    pub undecided: u64,
    /// Ids announced to peers, and by peers.
    pub announced: u64,
    /// See `announced`.
    pub heard: u64,
    /// Items asked for, and items handed over to peers that asked.
    pub wanted: u64,
    /// See `wanted`.
    pub served: u64,
    /// Links of the tree that were repaired and given up here.
    pub grafts: u64,
    /// See `grafts`.
    pub prunes: u64,
    /// Links of the tree that were replaced by shorter ways.
    pub shortened: u64,
    /// Items that were announced instead of pushed, because a lane was busy or its queue full.
    pub debts: u64,
    /// Announced items that were not handed over.
    pub broken: u64,
    /// Messages, ids and requests dropped because their peer sent too many.
    pub over_quota: u64,
    /// Bodies that could not be read.
    pub malformed: u64,
    /// Peers that nothing was taken from for a while.
    pub distrusted: u64,
    /// Reconciliations begun, their steps, and the items they found missing here.
    pub sessions: u64,
    /// See `sessions`.
    pub steps: u64,
    /// See `sessions`.
    pub found: u64,
}
