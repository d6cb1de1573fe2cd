//! From what is written in `weir.toml` to its checked form.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::budgets::is_of_all_plugins;
use super::keys::Source;
use super::raw::{
    RawAccess, RawConfig, RawLimits, RawLog, RawNamed, RawPeer, RawPlugins, RawReconnect, RawTimeouts, Size, Time,
};
use super::units::{format_duration, format_size};
use super::{
    Config, ConfigError, ConfiguredPeer, Limits, LogConfig, PluginFaults, PluginLimits, PluginOverrides, Reconnect,
    Timeouts,
};
use crate::plugin::{Digest, PluginBudgets, PluginPolicy, SignaturePolicy, Trust};
use crate::transport::{AccessLists, MAX_ACCESS_ENTRIES};
use crate::wire::MAX_ADDRESSES;

/// Looks at one key after the other and keeps the source at hand for errors.
struct Check<'a>(&'a Source<'a>);

impl Check<'_> {
    fn count(
        &self,
        key: &str,
        value: Option<u32>,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        self.within(key, value.unwrap_or(default), range, |n| n.to_string())
    }

    fn size(
        &self,
        key: &str,
        value: Option<Size>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        self.within(key, value.map_or(default, |s| s.0), range, |n| format_size(*n))
    }

    fn time(
        &self,
        key: &str,
        value: Option<Time>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        self.within(key, value.map_or(default, |t| t.0), range, |t| format_duration(*t))
    }

    fn within<T: PartialOrd, S: Display>(
        &self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> S,
    ) -> Result<T, ConfigError> {
        if range.contains(&value) {
            return Ok(value);
        }
        let (low, high) = (show(range.start()), show(range.end()));
        Err(self.0.wrong(key, format!("{} is outside {low} to {high}", show(&value))))
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn from_source(source: &Source<'_>) -> Result<Config, ConfigError> {
    let raw: RawConfig = source.read()?;
    let check = Check(source);
    let default = Config::default();
    let Named { settings: plugin_settings, pins, faults } = named(source)?;
    Ok(Config {
        listen: raw.listen.unwrap_or(default.listen),
        advertise: advertise(&check, &raw.advertise)?,
        limits: limits(&check, &raw.limits)?,
        timeouts: timeouts(&check, &raw.timeouts)?,
        access: access(&check, raw.access)?,
        reconnect: reconnect(&check, &raw.reconnect)?,
        peers: peers(&check, &raw.peers)?,
        plugins: plugin_limits(&check, &raw.plugins)?,
        plugin_faults: PluginFaults::of(&faults.apply(&PluginPolicy::default())),
        plugin_watch: raw.plugins.watch.unwrap_or(default.plugin_watch),
        plugin_trust: plugin_trust(&check, raw.plugins, pins)?,
        plugin_settings,
        log: log(&check, raw.log)?,
    })
}

fn limits(check: &Check<'_>, raw: &RawLimits) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let max_peers = check.count("limits.max_peers", raw.max_peers, default.max_peers, 1..=4096)?;
    let limits = Limits {
        max_peers,
        connections_per_peer: check.count(
            "limits.connections_per_peer",
            raw.connections_per_peer,
            default.connections_per_peer,
            1..=4,
        )?,
        reserved_outbound: reserved_outbound(check, raw.reserved_outbound, max_peers)?,
        eviction: raw.eviction.unwrap_or(default.eviction),
        max_pending_handshakes: check.count(
            "limits.max_pending_handshakes",
            raw.max_pending_handshakes,
            default.max_pending_handshakes,
            1..=1024,
        )?,
        max_pending_per_source: check.count(
            "limits.max_pending_per_source",
            raw.max_pending_per_source,
            default.max_pending_per_source,
            1..=1024,
        )?,
        max_connections_per_source: check.count(
            "limits.max_connections_per_source",
            raw.max_connections_per_source,
            default.max_connections_per_source,
            1..=16384,
        )?,
        max_streams: check.count("limits.max_streams", raw.max_streams, default.max_streams, 4..=1024)?,
        stream_window: check.size(
            "limits.stream_window",
            raw.stream_window,
            default.stream_window.into(),
            16 * KIB..=64 * MIB,
        )? as u32,
        send_buffer: check.size(
            "limits.send_buffer",
            raw.send_buffer,
            default.send_buffer.into(),
            64 * KIB..=64 * MIB,
        )? as u32,
        max_message: check.size("limits.max_message", raw.max_message, default.max_message.into(), KIB..=16 * MIB)?
            as u32,
        native_handlers: check.count(
            "limits.native_handlers",
            raw.native_handlers,
            default.native_handlers,
            0..=256,
        )?,
        memory_limit: check.size(
            "limits.memory_limit",
            raw.memory_limit,
            default.memory_limit,
            16 * MIB..=u64::MAX >> 1,
        )?,
    };
    match limits.streams().windows() {
        Ok(_) => Ok(limits),
        Err(error) => Err(check.0.wrong("limits.stream_window", error.to_string())),
    }
}

/// The default, written down, is the default.
fn reserved_outbound(check: &Check<'_>, raw: Option<u32>, max_peers: u32) -> Result<Option<u32>, ConfigError> {
    let default = max_peers / 8;
    let reserved = check.count("limits.reserved_outbound", raw, default, 0..=max_peers - 1)?;
    Ok((reserved != default).then_some(reserved))
}

fn timeouts(check: &Check<'_>, raw: &RawTimeouts) -> Result<Timeouts, ConfigError> {
    let default = Timeouts::default();
    let (second, most) = (Duration::from_secs(1), Duration::from_secs(600));
    let idle = check.time("timeouts.idle", raw.idle, default.idle, second * 2..=most)?;
    let keep_alive = check.time("timeouts.keep_alive", raw.keep_alive, default.keep_alive, second..=most)?;
    let handshake = check.time("timeouts.handshake", raw.handshake, default.handshake, second..=second * 60)?;
    let spare_connection = check.time(
        "timeouts.spare_connection",
        raw.spare_connection,
        default.spare_connection,
        second..=second * 3600,
    )?;
    if keep_alive > idle / 2 {
        let (keep_alive, half) = (format_duration(keep_alive), format_duration(idle / 2));
        let problem = format!(
            "{keep_alive} is more than half of timeouts.idle ({half}): one lost ping would end the connection; \
             make it shorter or timeouts.idle longer"
        );
        return Err(check.0.wrong("timeouts.keep_alive", problem));
    }
    Ok(Timeouts { idle, keep_alive, handshake, spare_connection })
}

fn access(check: &Check<'_>, RawAccess { allow, block }: RawAccess) -> Result<AccessLists, ConfigError> {
    let (entries, most) = (allow.len() + block.len(), MAX_ACCESS_ENTRIES);
    if entries > most {
        let problem = format!("{entries} entries in both lists, more than {most}: write networks (IP/PREFIX) instead");
        return Err(check.0.wrong("access", problem));
    }
    Ok(AccessLists { allow, block })
}

fn advertise(check: &Check<'_>, raw: &[SocketAddr]) -> Result<Vec<SocketAddr>, ConfigError> {
    if raw.len() > MAX_ADDRESSES {
        let problem = format!("{} addresses are more than the {MAX_ADDRESSES} that peers are told", raw.len());
        return Err(check.0.wrong("advertise", problem));
    }
    let nowhere = |at: &&SocketAddr| at.port() == 0 || at.ip().is_unspecified() || at.ip().is_multicast();
    match raw.iter().find(nowhere) {
        Some(address) => {
            let problem = format!("{address} is no address that a peer could dial: write IP:PORT as peers see it");
            Err(check.0.wrong("advertise", problem))
        }
        None => Ok(raw.to_vec()),
    }
}

fn reconnect(check: &Check<'_>, raw: &RawReconnect) -> Result<Reconnect, ConfigError> {
    let default = Reconnect::default();
    let (second, ms) = (Duration::from_secs(1), Duration::from_millis(1));
    Ok(Reconnect {
        max_wait: check.time("reconnect.max_wait", raw.max_wait, default.max_wait, second..=second * 3600)?,
        settled: check.time("reconnect.settled", raw.settled, default.settled, second..=second * 600)?,
        next_address: check.time(
            "reconnect.next_address",
            raw.next_address,
            default.next_address,
            ms * 10..=second * 2,
        )?,
        remembered_peers: check.count(
            "reconnect.remembered_peers",
            raw.remembered_peers,
            default.remembered_peers,
            0..=16_384,
        )?,
    })
}

fn peers(check: &Check<'_>, raw: &[RawPeer]) -> Result<Vec<ConfiguredPeer>, ConfigError> {
    let mut seen = BTreeMap::new();
    for (index, peer) in raw.iter().enumerate() {
        if let Some(first) = seen.insert(peer.address, index) {
            let problem = format!("the same address stands in [[peers]] number {} and {}", first + 1, index + 1);
            return Err(check.0.wrong(&format!("peers[{index}].address"), problem));
        }
    }
    Ok(raw.iter().map(|peer| ConfiguredPeer { address: peer.address, necessary: peer.necessary }).collect())
}

fn plugin_limits(check: &Check<'_>, raw: &RawPlugins) -> Result<PluginLimits, ConfigError> {
    let default = PluginLimits::default();
    let (fast, slow) = (Duration::from_millis(10), Duration::from_secs(60));
    Ok(PluginLimits {
        max_plugins: check.count("plugins.max_plugins", raw.max_plugins, default.max_plugins, 0..=4096)?,
        max_memory: check.size("plugins.max_memory", raw.max_memory, default.max_memory, MIB..=4 * GIB)?,
        max_turn_time: check.time("plugins.max_turn_time", raw.max_turn_time, default.max_turn_time, fast..=slow)?,
        max_store: check.size("plugins.max_store", raw.max_store, default.max_store, 0..=u64::MAX >> 1)?,
        max_mailbox: check.size("plugins.max_mailbox", raw.max_mailbox, default.max_mailbox, 64 * KIB..=256 * MIB)?,
        max_file: check.size("plugins.max_file", raw.max_file, default.max_file, 64 * KIB..=GIB)?,
        compile_time: check.time(
            "plugins.compile_time",
            raw.compile_time,
            default.compile_time,
            Duration::from_secs(1)..=Duration::from_secs(3_600),
        )?,
        compile_memory: check.size(
            "plugins.compile_memory",
            raw.compile_memory,
            default.compile_memory,
            256 * MIB..=64 * GIB,
        )?,
        code_cache: check.size("plugins.code_cache", raw.code_cache, default.code_cache, 0..=u64::MAX >> 1)?,
        probation: check.time("plugins.probation", raw.probation, default.probation, Duration::ZERO..=DAY)?,
        probation_crashes: check.count(
            "plugins.probation_crashes",
            raw.probation_crashes,
            default.probation_crashes,
            1..=1_000,
        )?,
    })
}

/// `require` without anything that could be trusted would keep every plugin out.
fn plugin_trust(check: &Check<'_>, raw: RawPlugins, pins: BTreeMap<String, Digest>) -> Result<Trust, ConfigError> {
    let trust = Trust { policy: raw.signatures, keys: raw.trusted_keys, pins };
    if trust.policy == SignaturePolicy::Require && trust.keys.is_empty() && trust.pins.is_empty() {
        let problem = "\"require\" needs a key in plugins.trusted_keys (`weir plugin keygen FILE` makes one), or a \
                       [plugins.NAME] digest";
        return Err(check.0.wrong("plugins.signatures", problem));
    }
    Ok(trust)
}

/// What `[plugins]` says beside the limits that are checked one by one.
#[derive(Default)]
struct Named {
    /// By plugin.
    settings: BTreeMap<String, PluginOverrides>,
    /// The only content that may run under a name.
    pins: BTreeMap<String, Digest>,
    /// What is said of faults for all plugins.
    faults: PluginBudgets,
}

fn named(source: &Source<'_>) -> Result<Named, ConfigError> {
    let raw: RawNamed = source.read()?;
    let (mut named, mut faults) = (Named::default(), toml::Table::new());
    for (name, value) in raw.plugins {
        let mut section = match value {
            toml::Value::Table(section) => section,
            value if is_of_all_plugins(&name) => {
                faults.insert(name, value);
                continue;
            }
            _ => continue,
        };
        if let Some(digest) = section.remove("digest") {
            let read: Result<Digest, toml::de::Error> = digest.try_into();
            let wrong =
                |error: toml::de::Error| source.wrong(&format!("plugins.{name}.digest"), error.message().trim());
            named.pins.insert(name.clone(), read.map_err(wrong)?);
        }
        let overrides = PluginOverrides::of_table(section, source, &format!("plugins.{name}."))?;
        named.settings.insert(name, overrides);
    }
    // Budgets that cannot be are refused where they are read.
    named.faults = PluginOverrides::of_table(faults, source, "plugins.")?.budgets.read().unwrap_or_default();
    Ok(named)
}

fn log(check: &Check<'_>, raw: RawLog) -> Result<LogConfig, ConfigError> {
    let default = LogConfig::default();
    let level = raw.level.unwrap_or(default.level);
    // A filter takes any bare word for the name of a module, so a misspelt level would silence the log.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let good_word = |word: &str| word.contains('=') || levels.contains(&word.trim());
    if !level.split(',').all(good_word) || level.parse::<tracing_subscriber::EnvFilter>().is_err() {
        let problem = format!(
            "`{level}` is no log filter: write off, error, warn, info, debug or trace, \
             or directives like info,weir_host::plugin=debug"
        );
        return Err(check.0.wrong("log.level", problem));
    }
    Ok(LogConfig { level, format: raw.format.unwrap_or(default.format) })
}
