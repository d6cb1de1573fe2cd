//! Tests without wasm: a protocol runs as native code against a node that is a value in the test.

mod host;
mod node;

pub use host::{Crash, TestHost};
pub use node::{Asked, CallMade, LogLine, Sent};
pub(crate) use node::{Effect, Node};
