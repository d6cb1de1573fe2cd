//! What an operator may say with a change of what runs.

use std::path::PathBuf;

use crate::plugin::{PluginSource, Trust};

/// What the life of revisions needs from the node. The default trusts every file and keeps none after the node's end.
#[derive(Debug, Clone, Default)]
pub struct LifecycleConfig {
    /// Which files may run.
    pub trust: Trust,
    /// The folder for the bytes of what runs and ran before. Without one no rollback works after a restart.
    pub revisions: Option<PathBuf>,
}

/// How a file is loaded or put in the place of what runs.
#[derive(Debug, Clone, Default)]
pub struct ChangeOptions {
    /// The plugin is loaded because the node starts, not because somebody asked for it.
    pub boot: bool,
    /// The content of the file's `.sig`.
    pub signature: Option<String>,
    /// It may take over a store that belongs to another.
    pub adopt: bool,
    /// What runs is not asked for its memory: the new revision starts from the store alone.
    pub skip_snapshot: bool,
    /// A plugin that is not loaded gets the newest copy of its store that it can read, in the place of what is there.
    pub restore_store: bool,
}

/// How the revision before comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollback {
    /// With the copy of the store that was made before the upgrade; what was written since is gone then.
    pub restore_store: bool,
    /// What runs is not asked for its memory.
    pub skip_snapshot: bool,
}

/// A revision that the node kept.
#[derive(Debug, Clone)]
pub struct KeptPlugin {
    /// The plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file and settings.
    pub source: PluginSource,
    /// The content of its `.sig`.
    pub signature: Option<String>,
}
