//! The protocol exchanger: tells a peer how the local set changed.

mod push;
#[cfg(test)]
mod sim_tests;
mod state;
mod stats;

#[cfg(test)]
pub(super) use state::MAX_RETRIES;
pub use state::PUSH_TIMEOUT;
pub(super) use state::{Exchanger, Give};
pub use stats::ExchangeStats;
