//! The plugin `spread`: publishes signed messages by the SDK's gossip, checks those of others, and counts them.
//!
//! What it does is what such a plugin has to do: nothing is passed on before its author's signature was checked.

mod batch;
mod commands;
mod plugin;
mod shelf;

pub use commands::{Awaited, PublishArgs, Published, Status, WaitArgs};
pub use plugin::{NAME, PROTOCOL, Spread};

weir_sdk::export!(Spread);
