//! What the store can fail with.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A failure of the store. The text completes "failed to …".
///
/// Cheap to clone, because everybody who waits for the same commit gets the same failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error(
        "open the store {}: another process holds it; stop the node that runs in this folder, or choose another folder with --dir",
        path.display()
    )]
    Held {
        /// The database file.
        path: PathBuf,
    },
    /// A newer version of Weir wrote the file.
    #[error(
        "open the store {}: it has format {found} and this version reads up to {known}; run the newer weir that wrote it, or move the file away to start empty",
        path.display()
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The format in the file.
        found: u64,
        /// The newest format this version reads.
        known: u64,
    },
    /// The file cannot be opened or read: no permission, not a database, damaged.
    #[error(
        "open the store {}: {source}; check that it is a readable store file, or restore it from a copy, or move it away to start empty",
        path.display()
    )]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the operating system or the database said.
        source: BackendError,
    },
    /// A read from the disk failed. What waits to be written is not touched by it.
    #[error("read from the store {place}: {source}; check the disk")]
    Read {
        /// The database file.
        place: Arc<str>,
        /// What the operating system or the database said.
        source: BackendError,
    },
    /// A commit failed. The store takes nothing more; what was not on the disk yet is lost.
    #[error(
        "write to the store {place}: {source}; it takes no more writes: free space or check the disk, then restart the node"
    )]
    Failed {
        /// The database file.
        place: Arc<str>,
        /// What the operating system or the database said.
        source: BackendError,
    },
    /// The disk finished no commit for too long. The store takes nothing more.
    #[error(
        "write to the store {place}: the disk finished nothing for {} s; it takes no more writes: check the disk, then restart the node",
        waited.as_secs()
    )]
    Stalled {
        /// The database file.
        place: Arc<str>,
        /// How long somebody waited.
        waited: Duration,
    },
    /// The store was closed, or in a simulation crashed.
    #[error("use the store {place}: it is closed, because the node is stopping")]
    Closed {
        /// The database file.
        place: Arc<str>,
    },
}

/// What the medium below the store said: an error of the operating system or of the database.
#[derive(Debug, Clone)]
pub struct BackendError(Arc<dyn Error + Send + Sync>);

impl BackendError {
    /// Wraps any error.
    pub(super) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
