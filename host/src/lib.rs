//! A peer-to-peer node whose application protocols are WebAssembly plugins.
//!
//! Dependencies point one way:
//! `cli → admin → node → host → {supervisor, plugin} → protocol → stream → connection → transport → {wire, peer, identity}`.
//! Upward news travels on channels and traits that the lower layer defines.

pub mod admin;
#[cfg(test)]
mod capture;
pub mod cli;
pub mod config;
pub mod connection;
#[cfg(test)]
mod docs_tests;
pub mod folder;
mod hex;
pub mod host;
pub mod identity;
#[cfg(test)]
mod layers_tests;
mod level;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod plugin;
pub mod protocol;
pub mod reached;
pub mod runtime;
pub mod stream;
pub mod supervisor;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod wire;
