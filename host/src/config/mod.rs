//! What the operator decides: `weir.toml`, read once into validated types.
//!
//! `docs/configuration.md` and [`TEMPLATE`] describe every key; a test holds the three together.

mod budgets;
mod error;
mod file;
pub(crate) mod keys;
mod memory;
mod plugin;
mod raw;
mod template;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use budgets::{BudgetKeys, BudgetProblem};
pub use error::{ConfigError, Place};
pub use memory::{MemoryBound, MemoryExceeded, MemoryTerm};
pub use plugin::{PluginOverrides, read_plugin_file};
pub use template::{TEMPLATE, render_template};
pub use units::{format_size, parse_duration, parse_size};

use self::memory::PluginDemand;
use crate::connection::Eviction;
use crate::peer::PeerAddr;
use crate::plugin::{MutePolicy, PluginBudgets, PluginPolicy, SupervisionPolicy, Trust};
use crate::stream::LoadPolicy;
use crate::supervisor::{DEFAULT_REMEMBERED, RetryPolicy};
use crate::transport::{AccessLists, StreamLimits};

/// Everything `weir.toml` says, with the defaults where it says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The UDP address the node listens on. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where peers are told to dial this node; empty lets the node find out.
    pub advertise: Vec<SocketAddr>,
    /// Counts and sizes that bound what peers can make the node hold.
    pub limits: Limits,
    /// How long the node waits for a peer.
    pub timeouts: Timeouts,
    /// Whom to let in and whom to keep out.
    pub access: AccessLists,
    /// How lost peers are dialed again.
    pub reconnect: Reconnect,
    /// Peers to know from the start.
    pub peers: Vec<ConfiguredPeer>,
    /// What plugins may use.
    pub plugins: PluginLimits,
    /// What becomes of plugins and peers that fail, where nothing else is said for one plugin.
    pub plugin_faults: PluginFaults,
    /// Settings by the stem of the plugin's file.
    pub plugin_settings: BTreeMap<String, PluginOverrides>,
    /// Which plugin files may run.
    pub plugin_trust: Trust,
    /// Whether the plugin folder is looked at while the node runs.
    pub plugin_watch: bool,
    /// What is logged and how.
    pub log: LogConfig,
}

/// Counts and sizes that bound what peers can make the node hold. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most peers connected at once.
    pub max_peers: u32,
    /// Most connections of one peer at once.
    pub connections_per_peer: u32,
    /// Places that ordinary peers who dial cannot take; see [`Limits::reserved_outbound`].
    pub reserved_outbound: Option<u32>,
    /// Who goes when a peer comes and all places are taken.
    pub eviction: Eviction,
    /// Most handshakes in progress at once.
    pub max_pending_handshakes: u32,
    /// Most of them from one source: an IPv4 address or an IPv6 /64.
    pub max_pending_per_source: u32,
    /// Most connections that one source has dialed to this node.
    pub max_connections_per_source: u32,
    /// Most streams a peer may have open to this node, and this node to a peer.
    pub max_streams: u32,
    /// Bytes a peer may send on one stream before this node has read them.
    pub stream_window: u32,
    /// Bytes of one stream that wait here to be sent or acknowledged.
    pub send_buffer: u32,
    /// Largest message taken or sent.
    pub max_message: u32,
    /// Most owners of protocols besides plugins: native handlers of a program that embeds the node.
    pub native_handlers: u32,
    /// The node refuses to start when it could need more than this.
    pub memory_limit: u64,
}

impl Limits {
    /// Places kept for outbound connections: as many as were named, less than `max_peers`, or else an eighth of it.
    pub fn reserved_outbound(&self) -> u32 {
        let most = self.max_peers.saturating_sub(1);
        self.reserved_outbound.unwrap_or(self.max_peers / 8).min(most)
    }

    /// What each connection may use, as the transport takes it.
    pub fn streams(&self) -> StreamLimits {
        let Self { max_streams, stream_window, send_buffer, .. } = *self;
        StreamLimits { max_streams, stream_window, send_buffer }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_peers: 64,
            connections_per_peer: 1,
            reserved_outbound: None,
            eviction: Eviction::Lifo,
            max_pending_handshakes: 32,
            max_pending_per_source: 16,
            max_connections_per_source: 32,
            max_streams: 48,
            stream_window: 256 << 10,
            send_buffer: 128 << 10,
            max_message: 1 << 20,
            native_handlers: 2,
            memory_limit: 4 << 30,
        }
    }
}

/// How long the node waits for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A connection that is silent for this long is dead.
    pub idle: Duration,
    /// A silent connection is pinged this often.
    pub keep_alive: Duration,
    /// A handshake must end within this time.
    pub handshake: Duration,
    /// A further connection to a peer that its load has not needed for this long is closed.
    pub spare_connection: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let spare_connection = LoadPolicy::default().spare_after;
        Self { idle: seconds(30), keep_alive: seconds(10), handshake: seconds(10), spare_connection }
    }
}

/// How lost peers are dialed again, and how many peers' addresses are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The longest wait between two attempts.
    pub max_wait: Duration,
    /// A connection that lived this long makes the failures before it forgotten.
    pub settled: Duration,
    /// How long one address of a peer is given before the next one is dialed beside it.
    pub next_address: Duration,
    /// Most peers whose signed addresses are remembered.
    pub remembered_peers: u32,
}

impl Default for Reconnect {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        Self {
            max_wait: policy.cap,
            settled: policy.settled,
            next_address: policy.next_address,
            remembered_peers: DEFAULT_REMEMBERED as u32,
        }
    }
}

/// A peer the configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// Who, and where to dial it.
    pub address: PeerAddr,
    /// Whether the node keeps it connected.
    pub necessary: bool,
}

/// What plugins may use. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Most plugins loaded at once.
    pub max_plugins: u32,
    /// Memories and tables of one plugin.
    pub max_memory: u64,
    /// CPU time of one turn.
    pub max_turn_time: Duration,
    /// What one plugin may keep in its store.
    pub max_store: u64,
    /// What may wait for one plugin.
    pub max_mailbox: u64,
    /// How long a new revision is watched after an upgrade.
    pub probation: Duration,
    /// Crashes in that time after which the revision before comes back.
    pub probation_crashes: u32,
    /// Largest file of a plugin.
    pub max_file: u64,
    /// CPU time of compiling one plugin.
    pub compile_time: Duration,
    /// Address space of the process that compiles one plugin.
    pub compile_memory: u64,
    /// What compiled plugins may take on disk; 0 keeps none.
    pub code_cache: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            max_plugins: 8,
            max_memory: 64 << 20,
            max_turn_time: Duration::from_secs(1),
            max_store: 256 << 20,
            max_mailbox: 4 << 20,
            probation: Duration::from_secs(300),
            probation_crashes: 3,
            max_file: 64 << 20,
            compile_time: Duration::from_secs(120),
            compile_memory: 4 << 30,
            code_cache: 1 << 30,
        }
    }
}

/// What becomes of plugins that crash, of peers that make them, and of the events that they crashed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginFaults {
    /// When a plugin is started again, and when it is quarantined.
    pub supervision: SupervisionPolicy,
    /// When a peer is muted.
    pub mute: MutePolicy,
    /// Most dead letters of one plugin.
    pub dead_letters: usize,
    /// Most bytes of their bodies.
    pub dead_letter_bytes: u64,
}

impl PluginFaults {
    /// Of a policy.
    fn of(policy: &PluginPolicy) -> Self {
        let PluginPolicy { supervision, mute, dead_letters, dead_letter_bytes, .. } = *policy;
        Self { supervision, mute, dead_letters, dead_letter_bytes }
    }
}

impl Default for PluginFaults {
    fn default() -> Self {
        Self::of(&PluginPolicy::default())
    }
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level or filter directives, as `RUST_LOG` takes them.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Where a node listens unless told otherwise: on all IPv4 addresses, UDP port 4433.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:4433";

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 4433)),
            advertise: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access: AccessLists::default(),
            reconnect: Reconnect::default(),
            peers: Vec::new(),
            plugins: PluginLimits::default(),
            plugin_faults: PluginFaults::default(),
            plugin_settings: BTreeMap::new(),
            plugin_trust: Trust::default(),
            plugin_watch: true,
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, has a key this version does not know, or a value out of range. The
    /// message names file, line, key and what to write.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a text; `file` is only named in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let source = keys::Source::parse(text, file)?;
        source.refuse_unknown(&keys::NODE)?;
        file::from_source(&source)
    }

    /// What every plugin may use for which nothing else is said.
    pub fn plugin_policy(&self) -> PluginPolicy {
        let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
        let PluginFaults { supervision, mute, dead_letters, dead_letter_bytes } = self.plugin_faults;
        PluginPolicy {
            memory: self.plugins.max_memory,
            message: self.limits.max_message.min(crate::wire::DEFAULT_MAX_MESSAGE),
            turn_time: self.plugins.max_turn_time,
            probation: self.plugins.probation,
            probation_crashes: self.plugins.probation_crashes as usize,
            store_bytes: self.plugins.max_store,
            mailbox_bytes: bytes(self.plugins.max_mailbox),
            file: bytes(self.plugins.max_file),
            supervision,
            mute,
            dead_letters,
            dead_letter_bytes,
            ..PluginPolicy::default()
        }
    }

    /// The most memory a node with this configuration can be made to hold, term by term.
    pub fn memory_bound(&self) -> MemoryBound {
        self.memory_bound_with(&BTreeMap::new())
    }

    /// The same when these plugins are loaded, by name, with what they may use.
    pub fn memory_bound_with(&self, loaded: &BTreeMap<String, PluginBudgets>) -> MemoryBound {
        let said = |(name, said): (&String, &PluginOverrides)| (name.clone(), said.budgets.read().unwrap_or_default());
        let mut named: BTreeMap<_, _> = self.plugin_settings.iter().map(said).collect();
        named.extend(loaded.iter().map(|(name, budgets)| (name.clone(), budgets.clone())));
        let plugins = PluginDemand::of(&self.plugin_policy(), self.plugins.max_plugins, named.values());
        MemoryBound::of(&self.limits, plugins, self.plugins.max_mailbox, &self.reconnect)
    }

    /// Refuses a configuration that could need more memory than it allows.
    ///
    /// # Errors
    /// [`ConfigError::Memory`], which says which term is large and what to change.
    pub fn check_memory(&self, file: &Path) -> Result<MemoryBound, ConfigError> {
        let bound = self.memory_bound();
        match bound.exceeds(self.limits.memory_limit) {
            None => Ok(bound),
            Some(exceeded) => Err(ConfigError::Memory { file: file.to_owned(), exceeded }),
        }
    }
}

#[cfg(test)]
mod tests;
