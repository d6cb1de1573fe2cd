//! The plugin `load`: sends messages and requests as fast as its lane takes them and counts what comes.
//!
//! What it does for one message is next to nothing, so that what is measured is the way there.

mod commands;
mod plugin;

pub use commands::{AskArgs, Asked, Config, FloodArgs, Flooded};
pub use plugin::{Load, PROTOCOL};

weir_sdk::export!(Load);
