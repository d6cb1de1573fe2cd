//! Tests without wasm: a protocol runs as native code against a node that is a value in the test.
//!
//! [`TestHost`] is one plugin, events in and effects out. [`TestNet`] is many nodes in one process, seeded, in
//! virtual time: latency, partitions, crashes, upgrades. Both run the same seat and the same rules of a turn.

mod effect;
mod host;
mod imports;
mod mutate;
mod net;
mod node;
mod outside;
mod random;
mod records;
mod revision;
mod seat;
mod store;
mod verify;

pub use effect::Effect;
pub use host::TestHost;
pub use imports::Imports;
pub use mutate::mutated;
pub use net::{
    Body, Entry, Faults, LinkSpec, Network, Note, Scenario, Step, TestNet, Ticket, Timed, Totals, Trace, TraceMode,
};
#[cfg(test)]
pub(crate) use node::Node;
pub use random::Random;
pub use records::{Asked, CallMade, LogLine, Sent};
pub use revision::{Fault, Native, Revision, Running};
pub use seat::Crash;
