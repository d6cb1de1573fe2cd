//! The plugin `ping`: answers requests with what it got, counts messages, and sends them by the thousand.
//!
//! `Ping` is version 0.1.0 without the feature `v0-2` and version 0.2.0 with it; both are compiled here, so
//! that one test can upgrade from the one to the other. README.md lists the commands.

mod checksum;
mod commands;
mod counts;
mod durations;
mod flood;
mod name;
mod ping;
mod plugin;
mod text;

pub use checksum::Checksum;
pub use commands::{FloodArgs, FloodDone, PingArgs, PingDone, SendArgs, Stats};
pub use counts::{Counts, Flow};
pub use flood::{HEADER, pattern};
pub use plugin::{First, PROTOCOL, PROTOCOL_ID, Ping, Revision, Second};

/// The version that this build exports.
#[cfg(not(feature = "v0-2"))]
pub type Exported = Ping<First>;
/// The version that this build exports.
#[cfg(feature = "v0-2")]
pub type Exported = Ping<Second>;

weir_sdk::export!(Exported);
