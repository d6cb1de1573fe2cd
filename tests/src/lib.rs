//! Tests that need more than one crate: real nodes, real plugins, misbehaving peers.

pub mod dice;
pub mod guests;
pub mod keeper;
pub mod mock_network;
pub mod node;
pub mod plugins;
pub mod process;
pub mod raw;
#[path = "../../host/src/transport/relay.rs"]
pub mod relay;
pub mod testnet;
pub mod token;
pub mod wasm;
pub mod weir;

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
