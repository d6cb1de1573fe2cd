//! The plugin `dividend`: amounts declared by payers, divided by stake on a record date, claimed by signed records.
//!
//! [`Accumulator`] is the arithmetic and its proof, [`Pot`] the whole of it, pure; [`commands`] answers people; [`Dividend`]
//! is the plugin around both. README.md says the rules and lists the commands.

pub mod commands;
pub mod items;
pub mod staking;

mod accumulator;
mod layout;
mod plugin;
mod pot;
mod wide;

pub use accumulator::{Accumulator, AddError, MAX_ACCOUNTS, Position, Rule};
pub use plugin::{Dividend, PROTOCOL, PROTOCOL_ID};
pub use pot::{
    Entitlement, Found, Ignored, Meta, OtherGenesis, Outcome, Pot, Receipt, Rejected, Summary, Verdict, Wanted,
};
pub use wide::Wide;

weir_sdk::export!(Dividend);
