//! The durable keys of all plugins, and of the host itself.
//!
//! One thread owns the database and is its only writer. A turn commits into an overlay in memory, which reads
//! see at once; the thread writes everything that has gathered as one group and syncs it. A relaxed turn goes on
//! at once, a strict one awaits the group it is part of. The overlay is bounded in bytes and in age by making
//! turns wait. What survives a crash is a prefix of the turns of all namespaces, never half a turn: groups are
//! taken in the order in which turns committed, and a group is on the disk wholly or not at all.
//!
//! On the disk all keys are in one table, behind the four-byte number of their namespace; a second table has a
//! row for each namespace with its name, number and size. A thousand namespaces are a thousand rows, and two of them
//! trade their contents by trading numbers: so a copy takes the place of a namespace at one moment (`staging`).
//!
//! `overlay`, `group`, `scan`, `batch`, `archive` and `staged` decide and do no I/O; `disk` and `memory` are the media;
//! `shared` and `thread` join them.

mod archive;
mod backend;
mod batch;
mod disk;
mod error;
mod group;
mod memory;
mod namespace;
mod overlay;
mod registry;
mod scan;
mod shared;
mod staged;
mod staging;
mod thread;
mod ticket;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::archive::{ArchiveError, ArchiveHead, ArchiveLimits, ArchiveReader, ArchiveTotals, ArchiveWriter, Entry};
pub use self::batch::WriteBatch;
pub use self::error::{BackendError, StoreError};
pub use self::memory::MemoryDisk;
pub use self::namespace::Namespace;
pub use self::scan::{Page, ScanRange};
pub use self::staged::{Mark, PutError, StagedWrites, StoreLimits};
pub use self::staging::{Reader, Staging};
pub use self::ticket::CommitTicket;

use self::disk::Disk;
use self::shared::Shared;

/// What plugins' namespaces are called on the disk.
const PLUGIN_PREFIX: &str = "plugin/";
/// What the host's own namespaces are called on the disk.
const HOST_PREFIX: &str = "host/";
/// What namespaces are called that nobody sees, because they are to take the place of others.
const STAGING_PREFIX: &str = "staging/";

/// When a turn may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// At once; a crash may lose the turns of the last [`StorePolicy::max_pending_age`].
    #[default]
    Relaxed,
    /// When its group is on the disk. The group is written as soon as the disk is free.
    Strict,
}

/// How the store trades memory and loss after a crash for throughput.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePolicy {
    /// Memory for writes that are not on the disk yet. Turns wait beyond it; one turn may overshoot.
    pub max_pending_bytes: usize,
    /// How old a write may be that is not on the disk. Turns wait beyond it, so this is what a crash loses.
    pub max_pending_age: Duration,
    /// How long turns gather before a group is written, if nobody waits for it.
    pub commit_after: Duration,
    /// After how long without a finished commit somebody who waits gives the disk up, and with it the store.
    pub patience: Duration,
    /// Memory for pages read from the disk.
    pub cache_bytes: usize,
}

impl Default for StorePolicy {
    /// 16 MiB and 50 ms pending, groups of 20 ms, 30 s of patience, 64 MiB of cache.
    fn default() -> Self {
        Self {
            max_pending_bytes: 16 << 20,
            max_pending_age: Duration::from_millis(50),
            commit_after: Duration::from_millis(20),
            patience: Duration::from_secs(30),
            cache_bytes: 64 << 20,
        }
    }
}

/// A plugin's namespace and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// The plugin's name.
    pub name: String,
    /// Bytes of keys and values.
    pub used: u64,
}

/// The store; cheap to clone.
///
/// When the last clone and the last [`Namespace`] are dropped, the thread writes what is pending, lets go of the
/// file and ends by itself; [`Store::close`] waits for that.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use weir_host::plugin::store::{Durability, MemoryDisk, Store, WriteBatch};
///
/// let store = Store::in_memory(&MemoryDisk::default());
/// let ping = store.namespace("ping");
/// let mut batch = WriteBatch::default();
/// batch.put(b"count".to_vec(), b"1".to_vec());
/// let ticket = ping.commit(batch, Durability::Strict).await?;
/// ticket.durable().await?;
/// assert_eq!(ping.get(b"count")?, Some(b"1".to_vec()));
/// # Ok::<_, weir_host::plugin::store::StoreError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Store(Arc<Handle>);

/// Stops the store when nobody can use it any more.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Store {
    /// Opens the database file, or makes it (mode 0600) with nothing in it, and starts the thread that writes it.
    ///
    /// Blocks; after a crash for as long as it takes to read the whole file once.
    ///
    /// # Errors
    /// When another process has the file open, a newer version wrote it, or it cannot be read.
    pub fn open(path: &Path, policy: StorePolicy) -> Result<Self, StoreError> {
        let disk = Disk::open(path, policy.cache_bytes)?;
        let place = path.display().to_string();
        Self::start(Box::new(disk), policy, &place).map_err(|source| StoreError::Open { path: path.into(), source })
    }

    /// A store in memory without a thread, for simulations and tests: the same calls give the same result.
    ///
    /// Relaxed turns stay in the overlay until a strict turn, a full overlay or [`Store::sync`]; nothing is
    /// written by the passing of time, nor when the store is dropped without [`Store::close`]. What `disk` has
    /// then is what survives [`MemoryDisk::crash`]. Opening it again ends the store that had it before.
    pub fn in_memory(disk: &MemoryDisk) -> Self {
        let (backend, namespaces) = disk.attach();
        let snapshot = backend.live();
        let store = Self::from(Shared::inline(Box::new(backend), snapshot, namespaces));
        store.clear_leftovers();
        store
    }

    /// A store in memory with a thread that writes it, as a real one's does: for tests of what a crash or a slow disk
    /// does to turns that wait.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn in_memory_threaded(disk: &MemoryDisk, policy: StorePolicy) -> Result<Self, StoreError> {
        let (backend, _) = disk.attach();
        let failed = |source| StoreError::Open { path: "in memory".into(), source };
        Self::start(Box::new(backend), policy, "in memory").map_err(failed)
    }

    /// A store whose thread writes `backend`.
    fn start(backend: Box<dyn backend::Backend>, policy: StorePolicy, place: &str) -> Result<Self, BackendError> {
        let shared = Arc::new(Shared::threaded(backend.snapshot()?, backend.namespaces()?, policy, place));
        thread::spawn(shared.clone(), backend)?;
        let store = Self(Arc::new(Handle { shared }));
        store.clear_leftovers();
        Ok(store)
    }

    /// Takes away what a crash left half laid down.
    fn clear_leftovers(&self) {
        for (name, _) in self.0.shared.namespaces.usage() {
            if name.starts_with(STAGING_PREFIX) {
                // A new store has room; one that has failed already says so to the first turn.
                let _ = self.named(&name).try_commit(&mut Some(WriteBatch::purging()), Durability::Relaxed);
            }
        }
    }

    /// The namespace of a plugin. It comes into being with its first write.
    pub fn namespace(&self, plugin: &str) -> Namespace {
        self.named(&format!("{PLUGIN_PREFIX}{plugin}"))
    }

    /// A namespace of the host's own, which no plugin can name.
    pub fn host_namespace(&self, name: &str) -> Namespace {
        self.named(&format!("{HOST_PREFIX}{name}"))
    }

    fn named(&self, name: &str) -> Namespace {
        Namespace::new(self.clone(), self.0.shared.namespaces.namespace(name))
    }

    /// All plugins that have anything in the store, by name.
    pub fn namespaces(&self) -> Vec<NamespaceUsage> {
        let all = self.0.shared.namespaces.usage();
        let plugins = all.into_iter().filter_map(|(name, used)| {
            let name = name.strip_prefix(PLUGIN_PREFIX)?.to_owned();
            Some(NamespaceUsage { name, used })
        });
        plugins.collect()
    }

    /// Waits until the overlay has room, so that a turn that begins now need not wait when it commits.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.shared.ready().await
    }

    /// Writes everything that was committed before, and waits until it is on the disk.
    ///
    /// Cancel safe: it is written all the same.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.0.shared.sync().await
    }

    /// Writes what is pending and lets go of the file. Whoever still uses the store gets [`StoreError::Closed`].
    ///
    /// Cancel safe: it closes all the same.
    ///
    /// # Errors
    /// When the store failed or stalled before everything was on the disk.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.shared.close().await
    }
}

impl From<Shared> for Store {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(Handle { shared: Arc::new(shared) }))
    }
}
