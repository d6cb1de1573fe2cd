//! What the node writes down of a revision, so that it can be taken up again after a restart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::succession::Layouts;
use crate::plugin::store::Durability;
use crate::plugin::{PluginBudgets, PluginSettings};

/// One revision as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::plugin) struct KeptRecord {
    /// `sha256:…` of its file.
    pub(in crate::plugin) digest: String,
    pub(in crate::plugin) version: String,
    pub(in crate::plugin) data_version: u32,
    pub(in crate::plugin) reads_data_from: u32,
    /// Where its file came from, for messages.
    pub(in crate::plugin) file: Option<PathBuf>,
    /// The content of its `.sig`, if there was one.
    pub(in crate::plugin) signature: Option<String>,
    /// The key that signed it, in hexadecimal digits, if the operator trusts it.
    pub(in crate::plugin) signer: Option<String>,
    /// What it was granted.
    pub(in crate::plugin) grants: Vec<String>,
    /// Its configuration.
    pub(in crate::plugin) config: serde_json::Value,
    /// When what its turns stage may leave.
    pub(in crate::plugin) durability: Option<Durability>,
    /// What it may use, where that is not what all plugins may.
    pub(in crate::plugin) budgets: PluginBudgets,
}

impl KeptRecord {
    /// What it was given.
    pub(in crate::plugin) fn settings(&self) -> PluginSettings {
        PluginSettings {
            config: self.config.clone(),
            grants: self.grants.clone(),
            durability: self.durability,
            budgets: self.budgets.clone(),
        }
    }

    pub(in crate::plugin) fn layouts(&self) -> Layouts {
        Layouts { reads_from: self.reads_data_from, data_version: self.data_version }
    }
}

/// The layout that a plugin's store has, as of the last revision that could write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::plugin) struct LayoutRecord {
    pub(in crate::plugin) data_version: u32,
    /// The version of that revision, for messages.
    pub(in crate::plugin) version: String,
}

/// A copy of a plugin's store, made before it got a newer layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::plugin) struct CopyRecord {
    /// The layout of what was copied.
    pub(in crate::plugin) data_version: u32,
    /// The version that wrote it.
    pub(in crate::plugin) version: String,
    /// Bytes of keys and values.
    pub(in crate::plugin) bytes: u64,
    /// When, in milliseconds since the Unix epoch.
    pub(in crate::plugin) made_ms: u64,
}
