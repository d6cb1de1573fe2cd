//! The protocol exchanger: tells a peer how the local set changed.

mod push;
#[cfg(test)]
mod sim_tests;
mod state;
mod stats;

pub(super) use state::{Exchanger, Give};
#[cfg(test)]
pub(super) use state::{MAX_RETRIES, PUSH_TIMEOUT};
pub use stats::ExchangeStats;
