//! What the commands take and answer, as JSON.

use serde::{Deserialize, Serialize};

/// `publish {count, size, batch}`: publishes messages to all.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishArgs {
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub size: u32,
    /// How many share a signature.
    pub batch: u32,
}

/// The answer of `publish`: gossip has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Messages.
    pub messages: u64,
}

/// `wait {delivered}`: until so many messages of others have come since the plugin was loaded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitArgs {
    /// How many.
    pub delivered: u64,
}

/// The answer of `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Messages that have come.
    pub delivered: u64,
}

/// The answer of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Messages of others that have come.
    pub delivered: u64,
    /// Peers that items are pushed to or announced to.
    pub view: usize,
    /// What gossip says of itself.
    pub gossip: serde_json::Value,
}
