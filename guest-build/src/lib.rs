//! Finds or makes the wasm toolchain and builds plugins with it.
//!
//! `cargo xtask` goes through here, and so can whoever builds plugins for others, so that they are built the same way:
//!
//! ```no_run
//! use weir_guest_build::{GuestBuild, Lines, PackageInstall, Search, Toolchain};
//!
//! let search = Search {
//!     directory: ".".into(),
//!     scratch: "target/guests".into(),
//!     packages: PackageInstall::Forbidden,
//! };
//! let toolchain = Toolchain::find(&search, &Lines)?;
//! let files = toolchain.build(&GuestBuild::package("my-plugin", ".", "target/guests"), &Lines)?;
//! println!("{}", files[0].display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The order in which a toolchain is looked for is decided by [`plan`], a pure function of the [`Facts`] about the
//! machine. Nothing here writes to the user's configuration: what a compiler needs to know is passed in the
//! environment of the one command that needs it.

mod build;
mod command;
mod environment;
mod error;
mod facts;
mod memory;
mod plan;
mod progress;
mod toolchain;

pub use build::GuestBuild;
pub use command::{CommandError, Output, Supervised};
pub use environment::clean;
pub use error::{BuildError, ToolchainError};
pub use facts::{Compiler, Facts, Privilege};
pub use plan::{Attempt, MINIMUM_RUST, PackageInstall, plan};
pub use progress::{Lines, Progress, Silent};
pub use toolchain::{Search, Toolchain};

/// What plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
