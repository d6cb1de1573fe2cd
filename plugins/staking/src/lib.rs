//! The plugin `staking`: tokens at stake whose state is the same on every honest node, without a chain.
//!
//! [`Ledger`] is the whole of it, pure; [`commands`] answers people; [`Staking`] is the plugin around both, in two versions.
//! README.md says the rules and lists the commands.

pub mod commands;
pub mod items;
pub mod ranking;

mod account;
mod layout;
mod ledger;
mod meta;
mod plugin;

pub use account::{Account, Refusal, Unbonding};
pub use ledger::{
    Desk, Draft, Ignored, Ledger, MAX_PENDING, Notice, OtherGenesis, Receipt, Rejected, STEP, Summary, Verdict, Want,
};
pub use meta::{EpochRecord, Fault, Meta, Rotation, Tip, Totals};
pub use plugin::{First, PROTOCOL, PROTOCOL_ID, Revision, Second, Staking};

/// The version that this build exports.
#[cfg(not(feature = "v1-1"))]
pub type Exported = Staking<First>;
/// The version that this build exports.
#[cfg(feature = "v1-1")]
pub type Exported = Staking<Second>;

weir_sdk::export!(Exported);
