//! `WalletError`: what can go wrong, each with a name for programs and a text that says what to do.

use std::io;
use std::path::PathBuf;

use crate::api::ApiError;
use crate::book::Conflict;
use crate::book_file::BookFileError;
use crate::key_file::KeyFileError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The book beside it.
    #[error(transparent)]
    Book(#[from] BookFileError),
    /// Signing now could be signing a number twice.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The node does not answer, or says no.
    #[error(transparent)]
    Node(#[from] ApiError),
    /// The node has no such plugin.
    #[error(
        "the node has no plugin `{0}`: put {0}.wasm with its {0}.toml into the folder plugins/ of the node, and look at `weir plugin list`"
    )]
    NoPlugin(&'static str),
    /// Signed, on the disk, and sent, but nobody has said that it arrived.
    #[error(
        "`{what}` is signed with number {seq} and kept, but the node did not confirm it ({source}): ask for the same once more, and the same bytes are sent again"
    )]
    Unconfirmed {
        /// What was asked for.
        what: String,
        /// Its number.
        seq: u64,
        /// What the node said.
        source: ApiError,
    },
    /// The key has no right to it.
    #[error("the key {key} is not {role}: {fix}")]
    WrongRole {
        /// Whose key.
        key: weir_ledger::Key,
        /// What it would have to be.
        role: &'static str,
        /// What to do.
        fix: String,
    },
    /// The account is frozen, or about to be.
    #[error("account {0} signed two operations with one number: it can do nothing any more. Move on with a new key")]
    Frozen(weir_ledger::Key),
    /// What the node wants signed is not what was asked for.
    #[error(
        "the node's draft of an epoch is not what was asked for ({0}); nothing was signed. Look at `weir-wallet show` and the node's log, and try again"
    )]
    StrangeDraft(&'static str),
    /// Signed and taken, but not closed yet.
    #[error(
        "epoch {epoch} is signed and the node has it, but did not close it within {seconds} s: {sentence}. `weir call staking status` says what is missing"
    )]
    NotClosed {
        /// Which.
        epoch: u64,
        /// How long it was waited for.
        seconds: u64,
        /// What the node says.
        sentence: String,
    },
    /// What was typed cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A genesis would overwrite something.
    #[error("{} exists already and is not overwritten, because nodes may run with it: name another file, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file that is to be written.
    #[error("failed to write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WalletError {
    /// A name for programs. Where the node or a plugin refused, it is theirs.
    pub fn code(&self) -> &str {
        match self {
            Self::Key(error) => error.code(),
            Self::Book(error) => error.code(),
            Self::Conflict(error) => error.code(),
            Self::Node(error) => error.code(),
            Self::NoPlugin(_) => "unknown-plugin",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::WrongRole { .. } => "wrong-role",
            Self::Frozen(_) => "frozen",
            Self::StrangeDraft(_) => "strange-draft",
            Self::NotClosed { .. } => "not-closed",
            Self::Usage(_) => "usage",
            Self::Exists(_) => "file-exists",
            Self::File { .. } => "file-unusable",
        }
    }
}
