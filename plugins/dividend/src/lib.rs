//! The plugin `dividend`: amounts declared by payers, divided by stake on a record date, claimed by signed records.
//!
//! [`Accumulator`] is the arithmetic and its proof, [`Pot`] the whole of it, pure; [`commands`] answers people. README.md
//! says the rules and lists the commands.

pub mod commands;
pub mod items;
pub mod staking;

mod accumulator;
mod layout;
mod pot;
mod wide;

pub use accumulator::{Accumulator, AddError, MAX_ACCOUNTS, Position, Rule};
pub use pot::{Entitlement, Ignored, Meta, OtherGenesis, Outcome, Pot, Receipt, Rejected, Verdict};
pub use wide::Wide;
