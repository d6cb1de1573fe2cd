//! A plugin as an operator sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::compiler::CodeOrigin;
use super::crash::CrashReport;
use super::lifecycle::PluginState;
use super::store::Durability;
use super::supervision::Quarantine;
use super::usage::BudgetUse;
use crate::peer::PeerId;
use crate::protocol::ProtocolId;

/// What a plugin did since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Events in committed turns.
    pub events: u64,
    /// Messages among them.
    pub messages: u64,
    /// Committed turns.
    pub turns: u64,
    /// Failed calls: traps, timeouts, errors, failed commits.
    pub crashes: u64,
    /// Events that were dropped because they failed alone.
    pub dropped: u64,
    /// Messages and requests that were not handled because their peer went or the plugin ended.
    pub purged: u64,
    /// Verdicts on peers.
    pub reports: u64,
    /// Log lines beyond what it may log in a second.
    pub log_lines_dropped: u64,
    /// How often it was started again after a crash.
    pub restarts: u64,
    /// How often the revision before came back, by the operator's word or by itself.
    pub rollbacks: u64,
    /// Calls to another plugin that were refused: too many were open, or they came too fast.
    pub calls_refused: u64,
    /// Turns of events that had failed before, whether they went well or not.
    pub replays: u64,
    /// Culprits that were run again on an empty store, to see whose fault it is.
    pub trials: u64,
    /// Messages and requests of muted peers that were turned away.
    pub turned_away: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Calls into it that took longer than a tick and were moved away from the network's threads.
    pub slow_turns: u64,
    /// Memories and tables of the instance, in bytes.
    pub memory_bytes: u64,
    /// Keys and values in the store, in bytes.
    pub store_bytes: u64,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// The name, unique on a node.
    pub name: String,
    /// Semantic version of the running revision.
    pub version: String,
    /// One line for people.
    pub description: String,
    /// What it is doing.
    pub state: PluginState,
    /// Protocols that are registered for it.
    pub protocols: Vec<ProtocolId>,
    /// Counts the revisions of all plugins since the node started.
    pub revision: u64,
    /// What it was granted beyond the defaults.
    pub grants: Vec<String>,
    /// `sha256:…` of the file that runs.
    pub digest: String,
    /// The trusted key that signed it.
    pub signer: Option<String>,
    /// Whose its store is: `signer KEY`, `content DIGEST` or `anyone`.
    pub store_owner: Option<String>,
    /// The layout of what it keeps in the store.
    pub data_version: u32,
    /// The revision that `weir plugin rollback` brings back.
    pub previous: Option<PreviousRevision>,
    /// Set while the revision that runs is watched after an upgrade.
    pub probation: Option<ProbationInfo>,
    /// Why the node itself went back to this revision.
    pub fell_back: Option<String>,
    /// When what its turns stage may leave.
    pub durability: Durability,
    /// Peers of which it takes nothing for a while.
    pub muted: Vec<MutedPeer>,
    /// While it is quarantined: why, and until when.
    pub quarantine: Option<Quarantine>,
    /// Where the code of the running revision came from.
    pub code: CodeOrigin,
    /// What it did.
    pub counters: Counters,
    /// What it uses of its budgets, by the names that the budgets have in the configuration.
    pub budgets: BTreeMap<&'static str, BudgetUse>,
    /// The last crash in a sentence.
    pub last_error: Option<String>,
    /// The last crash in parts.
    pub last_crash: Option<CrashReport>,
}

impl PluginInfo {
    /// Of a plugin of which nothing but the name is known.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: String::new(),
            description: String::new(),
            state: PluginState::Staged,
            protocols: Vec::new(),
            revision: 0,
            grants: Vec::new(),
            durability: Durability::default(),
            digest: String::new(),
            signer: None,
            store_owner: None,
            data_version: 0,
            previous: None,
            probation: None,
            fell_back: None,
            counters: Counters::default(),
            muted: Vec::new(),
            quarantine: None,
            code: CodeOrigin { cached: false, micros: 0, bytes: 0 },
            budgets: BTreeMap::new(),
            last_error: None,
            last_crash: None,
        }
    }
}

/// The revision that ran before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviousRevision {
    /// Its version.
    pub version: String,
    /// `sha256:…` of its file.
    pub digest: String,
    /// The layout it writes.
    pub data_version: u32,
    /// Whether it can read the store as it is now; otherwise only with the copy that was made before the upgrade.
    pub reads_store: bool,
}

/// How a new revision is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProbationInfo {
    /// Until when, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// Crashes so far.
    pub crashes: usize,
    /// The crash at which the revision before comes back, or, when it cannot read the store, this one is quarantined.
    pub most_crashes: usize,
    /// Whether the revision before would come back.
    pub reversible: bool,
}

/// A peer of which nothing is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MutedPeer {
    /// Who.
    pub peer: PeerId,
    /// By which protocol.
    pub protocol: ProtocolId,
    /// For how long from now on, in seconds.
    pub seconds_left: u64,
    /// For the how manieth time; each lasts twice as long.
    pub times: u32,
    /// `poison: ` and the place where its events failed, or `called abusive by the plugin`.
    pub reason: String,
}

/// What an upgrade or a rollback did.
#[derive(Debug, Clone, Serialize)]
pub struct UpgradeReport {
    /// The plugin as it runs now.
    pub plugin: PluginInfo,
    /// The version that ran before.
    pub from_version: String,
    /// How long the mailbox was held; in JSON `pause_us`, in microseconds.
    #[serde(rename = "pause_us", serialize_with = "microseconds")]
    pub pause: Duration,
    /// Bytes of the snapshot the new revision started with.
    pub snapshot_bytes: Option<usize>,
    /// Why it started without a snapshot.
    pub snapshot_skipped: Option<String>,
    /// Bytes of the copy of the store that was made first, because the new revision writes a newer layout.
    pub copied_bytes: Option<u64>,
    /// Bytes of the copy of the store that was brought back.
    pub restored_bytes: Option<u64>,
}

fn microseconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
