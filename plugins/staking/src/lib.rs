//! The plugin `staking`: tokens at stake whose state is the same on every honest node, without a chain.
//!
//! [`Ledger`] is the whole of it, pure; [`commands`] answers people. README.md says the rules and lists the commands.

pub mod commands;
pub mod items;
pub mod ranking;

mod account;
mod layout;
mod ledger;
mod meta;

pub use account::{Account, Refusal, Unbonding};
pub use ledger::{
    Desk, Draft, Ignored, Ledger, MAX_DRAFT_PAGES, MAX_PENDING, Notice, OtherGenesis, Receipt, Rejected, STEP, Summary,
    Verdict, Want,
};
pub use meta::{EpochRecord, Fault, Meta, Rotation, Tip, Totals};
