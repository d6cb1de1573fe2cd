//! What can go wrong between a source folder and a `.wasm` file.

use std::path::PathBuf;

use crate::command::CommandError;

/// Why no wasm toolchain could be found or made.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Every way was tried or ruled out. `report` has a line for each, `advice` says what to install.
    #[error("find a Rust toolchain that compiles for {}:\n{report}\n{advice}", crate::TARGET)]
    NoWay {
        /// What was tried and how it ended, a line each.
        report: String,
        /// What a person can do about it.
        advice: String,
    },
    /// [`crate::Progress::cancelled`] said so.
    #[error("find a wasm toolchain: interrupted")]
    Cancelled,
}

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The compiler, or cargo, said no; the source has what it said.
    #[error("build plugin package {package}")]
    Cargo {
        /// The package that was asked for.
        package: String,
        /// How cargo ended.
        #[source]
        source: CommandError,
    },
    /// Cargo ended well and made no `.wasm` file.
    #[error(
        "build plugin package {package}: it compiled, but made no .wasm file; its Cargo.toml needs `crate-type = [\"cdylib\"]` \
         in `[lib]` (or in each `[[example]]`)"
    )]
    NoArtifact {
        /// The package that was asked for.
        package: String,
    },
    /// The folder that was named has no `Cargo.toml`.
    #[error("build plugin package {package}: there is no Cargo.toml in {}", directory.display())]
    NoManifest {
        /// The package that was asked for.
        package: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
}
