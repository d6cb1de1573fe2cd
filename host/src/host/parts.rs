//! What each layer is started with: the configuration, in the words of the layers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{AddressSource, AlivePolicy, ConnectionConfig, ConnectionLimits};
use crate::identity::NodeKey;
use crate::plugin::{CacheConfig, EngineConfig, Signer};
use crate::protocol::Streams;
use crate::runtime::Runtime;
use crate::stream::{LaneLimits, Lanes, LanesConfig, LoadPolicy, PoolPolicy, ReceivePolicy, SendStreamPoolManager};
use crate::supervisor::{BookRecord, RetryPolicy, SupervisorConfig};
use crate::transport::{Access, TransportConfig};

pub(super) fn transport_config(key: &Arc<NodeKey>, config: &Config) -> TransportConfig {
    TransportConfig {
        limits: config.limits.streams(),
        idle_timeout: config.timeouts.idle,
        keep_alive: config.timeouts.keep_alive,
        handshake_timeout: config.timeouts.handshake,
        max_pending_handshakes: config.limits.max_pending_handshakes,
        max_pending_per_source: config.limits.max_pending_per_source,
        access: Access::new(config.access.clone()),
        ..TransportConfig::new(key.clone(), config.listen)
    }
}

pub(super) fn connection_config(config: &Config, address: AddressSource, runtime: &Runtime) -> ConnectionConfig {
    let from = &config.limits;
    let limits = ConnectionLimits {
        max_peers: from.max_peers as usize,
        connections_per_peer: from.connections_per_peer as usize,
        reserved_outbound: from.reserved_outbound() as usize,
        max_pending: from.max_pending_handshakes as usize,
        max_per_source: from.max_connections_per_source as usize,
        limit_loopback: false,
        eviction: from.eviction,
    };
    ConnectionConfig {
        limits,
        address: Some(address),
        alive: AlivePolicy { every: config.timeouts.keep_alive, within: config.timeouts.idle },
        ..ConnectionConfig::new(config.limits.max_streams, runtime)
    }
}

pub(super) fn supervisor_config(config: &Config, records: Vec<BookRecord>) -> SupervisorConfig {
    let reconnect = &config.reconnect;
    let policy = RetryPolicy {
        cap: reconnect.max_wait,
        settled: reconnect.settled,
        next_address: reconnect.next_address,
        ..RetryPolicy::default()
    };
    SupervisorConfig { policy, remembered: reconnect.remembered_peers as usize, records }
}

pub(super) fn streams(incarnation: u64, config: &Config, tasks: &TaskTracker) -> Streams {
    let sequence = Arc::new(AtomicU64::new(0));
    let per_connection = config.limits.max_streams as usize;
    // QUIC itself opens no more than this, so a larger pool would wait for streams that never come.
    let pool = PoolPolicy { max: per_connection, ..PoolPolicy::default() };
    let load = LoadPolicy { spare_after: config.timeouts.spare_connection, ..LoadPolicy::default() };
    let pools = Arc::new(SendStreamPoolManager::new(pool, tasks.clone(), Handle::current()).with_load(load));
    let current = sequence.clone();
    let lanes = LanesConfig {
        incarnation,
        sequence: Box::new(move || current.load(Ordering::Acquire)),
        limits: LaneLimits::for_messages(config.limits.max_message),
    };
    let lanes = Lanes::new(pools.clone(), lanes, tasks.clone(), Handle::current());
    let receive = receive_policy(config);
    Streams { lanes, pools, receive, sequence, tasks: tasks.clone() }
}

/// What every hello promises has to hold for all peers at once, and for one connection more of each, because one that
/// is replaced may not be gone yet.
pub(super) fn receive_policy(config: &Config) -> ReceivePolicy {
    let per_connection = config.limits.max_streams as usize;
    let per_peer = (config.limits.connections_per_peer as usize + 1) * per_connection;
    ReceivePolicy {
        per_connection,
        per_peer,
        per_node: per_peer * config.limits.max_peers as usize,
        assembly: ReceivePolicy::assembly_for(config.limits.max_message),
        ..ReceivePolicy::default()
    }
}

/// `folder` is the data folder, if there is one.
pub(super) fn engine(config: &Config, program: Option<PathBuf>, folder: Option<&Path>) -> EngineConfig {
    let plugins = &config.plugins;
    let kept = folder.filter(|_| plugins.code_cache > 0);
    let cache = kept.map(|folder| CacheConfig { folder: folder.join("code"), max_bytes: plugins.code_cache });
    EngineConfig {
        program,
        time: plugins.compile_time,
        memory: plugins.compile_memory,
        cache,
        ..EngineConfig::default()
    }
}

/// The node's key, as far as plugins may use it.
pub(super) struct Key(pub(super) Arc<NodeKey>);

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}
