//! What lies in a node's data folder, and that one process at a time uses it.

mod access_book;
mod atomic;
mod group_book;
mod lock;
mod peer_book;

use std::io;
use std::path::{Path, PathBuf};

pub use access_book::{AccessBook, AccessList};
pub use group_book::GroupBook;
pub use lock::FolderLock;
pub use peer_book::{KnownPeer, MAX_KNOWN_PEERS, PeerBook};

pub use atomic::write_atomically;

use crate::transport::MAX_ACCESS_ENTRIES;

/// The paths in a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, whether it exists or not. A relative path is taken from where the process is now.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the operator decides.
    pub fn config(&self) -> PathBuf {
        self.0.join("weir.toml")
    }

    /// The node's secret key.
    pub fn key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// The admin API's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("weir.sock")
    }

    /// Locked as long as a node runs.
    pub fn lock(&self) -> PathBuf {
        self.0.join("weir.lock")
    }

    /// Peers that were added while the node ran.
    pub fn peers(&self) -> PathBuf {
        self.0.join("peers.json")
    }

    /// Access entries that were added while the node ran.
    pub fn access(&self) -> PathBuf {
        self.0.join("access.json")
    }

    /// Groups of peers that were made while the node ran.
    pub fn groups(&self) -> PathBuf {
        self.0.join("groups.json")
    }

    /// Plugins that are loaded at start.
    pub fn plugins(&self) -> PathBuf {
        self.0.join("plugins")
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Nobody ran `weir init` there.
    #[error("there is no node in {}: run `weir init --dir {}` first, or name another folder with --dir", .0.display(), .0.display())]
    NotInitialised(PathBuf),
    /// Another process runs the node of this folder.
    #[error("a node runs in {} already{}: stop it first, or use another folder with --dir", folder.display(), describe(*pid))]
    InUse {
        /// Which folder.
        folder: PathBuf,
        /// Whose process, if it says so.
        pid: Option<u32>,
    },
    /// `weir init` would overwrite something.
    #[error("{} exists already: `weir init` overwrites nothing; name another folder with --dir, or move the file away", .0.display())]
    Exists(PathBuf),
    /// A file of ours does not read as what it should be.
    #[error("{} is damaged ({problem}): {remedy}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// More peers than a node keeps in mind.
    #[error(
        "{MAX_KNOWN_PEERS} peers were added already, more are not kept: remove some with `weir peers remove PEER_ID`"
    )]
    TooManyPeers,
    /// More access entries than a node compares every handshake with.
    #[error(
        "{MAX_ACCESS_ENTRIES} access entries were added already, which is the limit of the node: write networks \
         (IP/PREFIX) instead, or take some off with `weir access unblock ENTRY`"
    )]
    TooManyEntries,
    /// The system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What we wanted to do.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn describe(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

impl FolderError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotInitialised(_) => "not-initialised",
            Self::InUse { .. } => "already-running",
            Self::Exists(_) => "already-initialised",
            Self::Damaged { .. } => "damaged-file",
            Self::TooManyPeers => "too-many-peers",
            Self::TooManyEntries => "too-many-entries",
            Self::Io { .. } => "folder-unusable",
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
