//! The protocol exchanger: tells a peer how the local set changed.

mod state;

pub(super) use state::{Exchanger, Give, PUSH_TIMEOUT};
