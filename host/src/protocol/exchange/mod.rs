//! The protocol exchanger: tells a peer how the local set changed.

mod push;
mod state;

#[cfg(test)]
pub(super) use state::PUSH_TIMEOUT;
pub(super) use state::{Exchanger, Give};
