//! What dividends ask the plugin `staking`, and how its answers read. Only the fields that count here.

use serde::{Deserialize, Serialize};
use weir_ledger::{Id, Key, amount};

/// Under which topic epochs anchor declarations.
pub const TOPIC: &str = "dividend";

/// One question to the plugin `staking`: a command and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Command `epochs`: which epochs are closed, and what they anchor.
    Epochs(EpochsArgs),
    /// Command `anchors`: the rest of one epoch's anchors.
    Anchors(AnchorsArgs),
    /// Command `stakes`: whose stake changed.
    Stakes(StakesArgs),
}

impl Question {
    /// The name of the command.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Epochs(_) => "epochs",
            Self::Anchors(_) => "anchors",
            Self::Stakes(_) => "stakes",
        }
    }
}

/// Arguments of `epochs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochsArgs {
    /// The first one to list.
    pub from: u64,
    /// How many.
    pub limit: u64,
    /// Whose anchors.
    pub topic: &'static str,
}

/// Arguments of `anchors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnchorsArgs {
    /// Of which epoch.
    pub epoch: u64,
    /// Whose anchors.
    pub topic: &'static str,
    /// Where the page begins.
    pub after: Option<String>,
}

/// Arguments of `stakes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StakesArgs {
    /// Up to which epoch.
    pub epoch: u64,
    /// Behind which one.
    pub since: u64,
    /// Where the page begins.
    pub after: Option<String>,
}

/// The answer of `epochs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Epochs {
    /// The network.
    pub genesis: Id,
    /// The last closed epoch.
    pub closed: u64,
    /// In order.
    pub epochs: Vec<Epoch>,
}

/// One closed epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub epoch: u64,
    /// The id of its header.
    pub id: Id,
    /// Everything at stake when it closed.
    #[serde(with = "amount")]
    pub total: u128,
    /// The first of its anchors.
    pub anchors: Vec<Id>,
    /// Whether there are more.
    #[serde(default)]
    pub more_anchors: bool,
}

/// The answer of `anchors`.
#[derive(Debug, Clone, Deserialize)]
pub struct Anchors {
    /// Of which epoch.
    pub epoch: u64,
    /// By id.
    pub anchors: Vec<Id>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// The answer of `stakes`.
#[derive(Debug, Clone, Deserialize)]
pub struct Stakes {
    /// By epoch and account.
    pub accounts: Vec<Stake>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A stake that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Stake {
    /// Whose.
    pub account: Key,
    /// What it is since then.
    #[serde(with = "amount")]
    pub staked: u128,
    /// Which epoch changed it.
    pub epoch: u64,
}
