//! `weir.toml` as it is written: every key, and nothing checked but its form.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{LogFormat, parse_duration, parse_size};
use crate::connection::Eviction;
use crate::peer::{PeerAddr, PeerId};
use crate::plugin::SignaturePolicy;
use crate::transport::AccessEntry;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawConfig {
    pub(super) listen: Option<SocketAddr>,
    pub(super) advertise: Vec<SocketAddr>,
    pub(super) limits: RawLimits,
    pub(super) timeouts: RawTimeouts,
    pub(super) access: RawAccess,
    pub(super) reconnect: RawReconnect,
    pub(super) peers: Vec<RawPeer>,
    pub(super) plugins: RawPlugins,
    pub(super) log: RawLog,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawLimits {
    pub(super) max_peers: Option<u32>,
    pub(super) connections_per_peer: Option<u32>,
    pub(super) reserved_outbound: Option<u32>,
    pub(super) eviction: Option<Eviction>,
    pub(super) max_pending_handshakes: Option<u32>,
    pub(super) max_pending_per_source: Option<u32>,
    pub(super) max_connections_per_source: Option<u32>,
    pub(super) max_streams: Option<u32>,
    pub(super) stream_window: Option<Size>,
    pub(super) send_buffer: Option<Size>,
    pub(super) max_message: Option<Size>,
    pub(super) native_handlers: Option<u32>,
    pub(super) memory_limit: Option<Size>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawTimeouts {
    pub(super) idle: Option<Time>,
    pub(super) keep_alive: Option<Time>,
    pub(super) handshake: Option<Time>,
    pub(super) spare_connection: Option<Time>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawAccess {
    pub(super) allow: BTreeSet<AccessEntry>,
    pub(super) block: BTreeSet<AccessEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawReconnect {
    pub(super) max_wait: Option<Time>,
    pub(super) settled: Option<Time>,
    pub(super) next_address: Option<Time>,
    pub(super) remembered_peers: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct RawPeer {
    pub(super) address: PeerAddr,
    #[serde(default = "yes")]
    pub(super) necessary: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawPlugins {
    pub(super) max_plugins: Option<u32>,
    pub(super) max_memory: Option<Size>,
    pub(super) max_turn_time: Option<Time>,
    pub(super) max_store: Option<Size>,
    pub(super) max_mailbox: Option<Size>,
    pub(super) probation: Option<Time>,
    pub(super) probation_crashes: Option<u32>,
    pub(super) signatures: SignaturePolicy,
    pub(super) trusted_keys: BTreeSet<PeerId>,
    pub(super) watch: Option<bool>,
    pub(super) max_file: Option<Size>,
    pub(super) compile_time: Option<Time>,
    pub(super) compile_memory: Option<Size>,
    pub(super) code_cache: Option<Size>,
}

/// A second view of the same section. `flatten` would do it in one, but loses the place of an error.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawNamed {
    pub(super) plugins: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<LogFormat>,
}

/// Bytes, written as a number or with a unit.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Integer(bytes) if bytes >= 0 => Ok(Self(bytes as u64)),
            toml::Value::String(text) => parse_size(&text).map(Self).map_err(serde::de::Error::custom),
            other => parse_size(&other.to_string()).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// A duration, written with a unit.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
