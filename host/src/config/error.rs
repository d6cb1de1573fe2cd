//! Why a configuration is refused.

use std::fmt;
use std::path::PathBuf;

use super::MemoryExceeded;

/// A file, and the line in it where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named to us.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, " line {line}"))
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says, in one line.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key {key}{hint}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key with its sections.
        key: String,
        /// The key that was probably meant, as an end of the sentence.
        hint: String,
    },
    /// A value that cannot be.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The key with its sections.
        key: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// The node could need more memory than it is allowed.
    #[error("{}: {exceeded}", file.display())]
    Memory {
        /// Which file.
        file: PathBuf,
        /// By how much and why.
        exceeded: MemoryExceeded,
    },
}

impl ConfigError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config-unreadable",
            Self::Syntax { .. } => "config-syntax",
            Self::UnknownKey { .. } => "config-unknown-key",
            Self::Value { .. } => "config-value",
            Self::Memory { .. } => "config-memory",
        }
    }
}
