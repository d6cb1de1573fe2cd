//! What the node remembers of a quarantine across its own restarts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plugin::crash::CrashReport;
use crate::plugin::records::{RecordError, Records};
use crate::plugin::revision::Revision;
use crate::plugin::store::Store;

/// A plugin has one at most.
const NUMBER: u64 = 0;

/// Why a plugin is unregistered, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// When it is tried again.
    pub until_unix_ms: u64,
    /// For the how manieth time in a row; each lasts twice as long.
    pub times: u32,
    /// The SHA-256 of the file that crashed: another one is not in quarantine.
    pub digest: String,
    /// The last crash.
    pub report: CrashReport,
}

impl Quarantine {
    pub(super) fn new(
        since_unix_ms: u64,
        pause: Duration,
        times: u32,
        revision: &Revision,
        report: &CrashReport,
    ) -> Self {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let (until_unix_ms, digest) = (since_unix_ms.saturating_add(pause), revision.identity.digest.to_string());
        Self { since_unix_ms, until_unix_ms, times, digest, report: report.clone() }
    }
}

/// All quarantines on the disk.
pub(in crate::plugin) struct Quarantines(Records);

impl Quarantines {
    pub(in crate::plugin) fn new(store: &Store) -> Self {
        Self(Records::new(store, "quarantines"))
    }

    /// The quarantine of a plugin, if it is one of this file.
    pub(in crate::plugin) fn of(&self, plugin: &str, digest: &str) -> Result<Option<Quarantine>, RecordError> {
        let quarantine: Option<Quarantine> = self.0.get(plugin, NUMBER)?;
        Ok(quarantine.filter(|quarantine| quarantine.digest == digest))
    }

    pub(super) async fn put(&self, plugin: &str, quarantine: &Quarantine) -> Result<(), RecordError> {
        self.0.put(plugin, NUMBER, quarantine).await.map(drop)
    }

    /// Forgets it, and how often there was one.
    pub(in crate::plugin) async fn forget(&self, plugin: &str) -> Result<(), RecordError> {
        match self.0.get::<Quarantine>(plugin, NUMBER)? {
            Some(_) => self.0.remove(plugin, NUMBER).await.map(drop),
            None => Ok(()),
        }
    }

    /// It is over. How often the plugin was quarantined still counts for the next one.
    pub(super) async fn lift(&self, plugin: &str) -> Result<(), RecordError> {
        let Some(mut quarantine) = self.0.get::<Quarantine>(plugin, NUMBER)? else { return Ok(()) };
        quarantine.until_unix_ms = quarantine.since_unix_ms;
        self.0.put(plugin, NUMBER, &quarantine).await.map(drop)
    }
}
