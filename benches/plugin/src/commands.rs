//! What the configuration and the commands take and answer, as JSON.

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;

/// The configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether each message is written to the store.
    pub keep: bool,
}

/// `flood {peers, count, size, protocols}`: sends that many messages to each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloodArgs {
    /// To whom.
    pub peers: Vec<PeerId>,
    /// How many messages to each.
    pub count: u64,
    /// Bytes of each.
    pub size: u32,
    /// By how many protocols: so many messages by each, as far as the plugin has them.
    pub protocols: u32,
}

/// The answer of `flood`: the lanes have taken everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flooded {
    /// Messages that lanes took.
    pub messages: u64,
}

/// `ask {peer, count, size, concurrency}`: asks and measures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskArgs {
    /// Whom.
    pub peer: PeerId,
    /// How many requests.
    pub count: u64,
    /// Bytes of each.
    pub size: u32,
    /// Requests open at once.
    pub concurrency: u32,
}

/// The answer of `ask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// How long each answer took, in microseconds, in the order in which they came.
    pub took_us: Vec<u32>,
    /// From the first request to the last answer, in microseconds.
    pub elapsed_us: u64,
}
