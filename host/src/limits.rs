//! The one table of all limits: whose, of what, how high, how much is in use, which key changes it, and why it exists.

use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, PluginFaults};
use crate::connection::{
    ConnectionLimits, DIAL_TIMEOUT, DRAIN_TIMEOUT, HELLO_TIMEOUT, MAX_PENDING_OF_PEER, MAX_PROTOCOL_NAME, MAX_RACE,
    ManagerStatus, PROBE_TIMEOUT, REFUSAL_LINGER, WRITE_TIMEOUT,
};
use crate::protocol::{
    LONGEST_ASK, MAX_ASKS, MAX_GROUP_MEMBERS, MAX_GROUPS, MAX_REQUESTS, MAX_REQUESTS_OF_NODE, MAX_REQUESTS_OF_PEER,
    PUSH_TIMEOUT,
};
pub use crate::reached::Scope;
use crate::reached::names;
use crate::stream::{BudgetLimits, LaneLimits, PoolPolicy, ReceivePolicy};
use crate::supervisor::{MAX_WATCHED, RetryPolicy};
use crate::transport::{CONTROL_WINDOW, MAX_ACCESS_ENTRIES, MAX_UNTAKEN, PendingHandshakes};
use crate::wire::{MAX_CONTROL_FRAME, MAX_PROTOCOLS};

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What is limited, for people and for programs.
    pub name: &'static str,
    /// Whose limit it is: of the whole node, or of each of something.
    pub scope: Scope,
    /// In what `value` and `in_use` are counted.
    pub unit: Unit,
    /// The limit as it is in force.
    pub value: LimitValue,
    /// How much of it is in use now; for a limit of each of something, by the one that uses most. Absent where nothing
    /// is counted.
    pub in_use: Option<u64>,
    /// The key in `weir.toml` that sets it; absent where none does.
    pub key: Option<&'static str>,
    /// Why it exists.
    pub why: &'static str,
}

/// In what a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Ms,
    /// A word.
    Choice,
}

/// A number, or one of a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LimitValue {
    /// In the limit's unit.
    Number(u64),
    /// A choice.
    Word(String),
}

/// What is in use now, as far as the layers count it.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Of the connection manager.
    pub connections: ManagerStatus,
    /// Of the transport.
    pub handshakes: PendingHandshakes,
    /// Entries in both access lists.
    pub access_entries: usize,
    /// Data streams of peers that are open.
    pub receive_streams: usize,
    /// Loaded plugins.
    pub plugins: usize,
    /// Open asks of this node, and of peers.
    pub requests: (usize, usize),
}

/// All limits as they are in force.
pub fn table(config: &Config, receive: &ReceivePolicy, usage: &Usage) -> Vec<Limit> {
    let mut table = connections(config, usage);
    table.extend(streams(config, receive, usage));
    table.extend(queues(config));
    table.extend(plugins(config, usage));
    table.extend(faults(config));
    table.extend(timeouts(config));
    table.extend(waits(config, receive));
    table
}

fn count(name: &'static str, scope: Scope, value: impl TryInto<u64>, why: &'static str) -> Limit {
    let value = LimitValue::Number(value.try_into().unwrap_or(u64::MAX));
    Limit { name, scope, unit: Unit::Count, value, in_use: None, key: None, why }
}

fn bytes(name: &'static str, scope: Scope, value: impl TryInto<u64>, why: &'static str) -> Limit {
    Limit { unit: Unit::Bytes, ..count(name, scope, value, why) }
}

fn time(name: &'static str, scope: Scope, value: Duration, why: &'static str) -> Limit {
    Limit { unit: Unit::Ms, ..count(name, scope, value.as_millis(), why) }
}

impl Limit {
    fn key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    fn used(self, in_use: impl TryInto<u64>) -> Self {
        Self { in_use: Some(in_use.try_into().unwrap_or(u64::MAX)), ..self }
    }
}

fn connections(config: &Config, usage: &Usage) -> Vec<Limit> {
    use Scope::{Group, Node, Peer, Source};
    let (limits, now) = (&config.limits, &usage.connections);
    let eviction = LimitValue::Word(limits.eviction.to_string());
    let places = limits.max_peers as usize * limits.connections_per_peer as usize;
    vec![
        count(names::PEERS, Node, limits.max_peers, "each peer costs memory in windows and buffers")
            .key("limits.max_peers")
            .used(now.peers),
        count(
            names::INBOUND,
            Node,
            limits.max_peers - limits.reserved_outbound(),
            "the rest of the places is kept for peers that this node dials",
        )
        .key("limits.reserved_outbound")
        .used(now.inbound_ordinary),
        Limit {
            unit: Unit::Choice,
            value: eviction,
            ..count("eviction", Node, 0_u64, "who goes when a peer comes and all places are taken")
        }
        .key("limits.eviction"),
        count(names::CONNECTIONS, Peer, limits.connections_per_peer, "each costs as much memory as a peer")
            .key("limits.connections_per_peer")
            .used(now.most_of_one_peer),
        count(
            "connections that drain",
            Node,
            ConnectionLimits::draining_beside(places),
            "beside those that hold a place; beyond it the oldest drain is cut short",
        ),
        count(names::DIALED, Source, limits.max_connections_per_source, "nobody takes all places")
            .key("limits.max_connections_per_source")
            .used(now.most_of_one_source),
        count(names::HANDSHAKES, Node, limits.max_pending_handshakes, "strangers who knock cost memory, too")
            .key("limits.max_pending_handshakes")
            .used(usage.handshakes.all),
        count(names::HANDSHAKES, Source, limits.max_pending_per_source, "nobody holds up all others")
            .key("limits.max_pending_per_source")
            .used(usage.handshakes.most_of_one_source),
        count(names::UNTAKEN, Node, MAX_UNTAKEN, "more than a burst waits only when the node is too busy for one more"),
        count(names::UNDECIDED, Node, limits.max_pending_handshakes, "each may hold one control frame")
            .key("limits.max_pending_handshakes")
            .used(now.pending),
        count(names::UNDECIDED, Peer, MAX_PENDING_OF_PEER, "no single key takes all of them"),
        count("access entries", Node, MAX_ACCESS_ENTRIES, "each handshake is compared with all of them")
            .used(usage.access_entries),
        count("known peers", Node, MAX_WATCHED, "each may have a dial under way"),
        count("remembered addresses", Node, config.reconnect.remembered_peers, "half a KiB for each peer")
            .key("reconnect.remembered_peers"),
        count("groups", Node, MAX_GROUPS, "their members are kept in memory"),
        count("members", Group, MAX_GROUP_MEMBERS, "one message goes to all of them"),
        count("dials", Node, RetryPolicy::default().at_once, "a thousand handshakes at once would help none of them")
            .used(now.dials),
        count("addresses of one dial", Peer, MAX_RACE, "what an operator and the peer itself may name, twice"),
        count("native handlers", Node, limits.native_handlers, "each may queue for its peers, as a plugin")
            .key("limits.native_handlers"),
        bytes("memory", Node, limits.memory_limit, "the node does not start when it could need more")
            .key("limits.memory_limit")
            .used(config.memory_bound().bytes),
    ]
}

fn streams(config: &Config, receive: &ReceivePolicy, usage: &Usage) -> Vec<Limit> {
    use Scope::{Connection, Lane, Node, Peer, Stream};
    let limits = &config.limits;
    let window = limits.streams().windows().map_or(0, |windows| windows.connection);
    vec![
        count("data streams in each direction", Connection, limits.max_streams, "each may hold a window and a buffer")
            .key("limits.max_streams"),
        count(names::RECEIVE_STREAMS, Connection, receive.per_connection, "what the hello promises")
            .key("limits.max_streams"),
        count(
            names::RECEIVE_STREAMS,
            Peer,
            receive.per_peer,
            "what the hello promises, for all its connections and one more",
        ),
        count(names::RECEIVE_STREAMS, Node, receive.per_node, "what the hellos promise all peers together")
            .used(usage.receive_streams),
        count(
            "send streams",
            Lane,
            PoolPolicy::default().streams_per_lane,
            "order needs no more, and what a peer leaves unread ties up no other",
        ),
        count("lanes whose order is known", Peer, receive.lanes_per_peer, "the idle ones are forgotten first"),
        bytes("stream window", Stream, limits.stream_window, "what a peer may send before it is read")
            .key("limits.stream_window"),
        bytes("connection window", Connection, window, "follows from the streams, so that none starves another"),
        bytes("control window", Connection, CONTROL_WINDOW, "as the stream window, for the control stream"),
        bytes("send buffer", Stream, limits.send_buffer, "what waits to be acknowledged").key("limits.send_buffer"),
        bytes("message", Node, limits.max_message, "a handler holds it whole").key("limits.max_message"),
        bytes("large messages being put together", Connection, receive.assembly, "a frame may be larger than a window"),
        bytes("control frame", Connection, MAX_CONTROL_FRAME, "it is decoded whole"),
        count("protocols", Peer, MAX_PROTOCOLS, "a set is kept for each peer"),
        count(names::ASKS, Node, MAX_ASKS, "each is remembered until its answer or its deadline")
            .used(usage.requests.0),
        count(names::REQUESTS, Lane, MAX_REQUESTS, "their answers always fit, so their number is bounded"),
        count(names::REQUESTS, Peer, MAX_REQUESTS_OF_PEER, "no peer takes all of them"),
        count(names::REQUESTS, Node, MAX_REQUESTS_OF_NODE, "each is remembered until it is answered")
            .used(usage.requests.1),
        bytes("protocol id", Peer, MAX_PROTOCOL_NAME, "a set is kept for each peer"),
    ]
}

/// What waits to be written. A native handler has as much as a plugin.
fn queues(config: &Config) -> Vec<Limit> {
    use Scope::{Lane, Plugin};
    let lane = LaneLimits::for_messages(config.limits.max_message);
    let budget = BudgetLimits::for_messages(config.limits.max_message);
    let told = "what does not fit below it is told as undelivered";
    vec![
        bytes("queued until congested", Lane, lane.soft, "from here on sends are refused as busy"),
        bytes("queued", Lane, lane.hard, told),
        bytes("queued until congested", Plugin, budget.soft, "from here on all its lanes refuse sends as busy"),
        bytes("queued", Plugin, budget.hard, told),
    ]
}

fn plugins(config: &Config, usage: &Usage) -> Vec<Limit> {
    use Scope::{Node, Plugin};
    let limits = &config.plugins;
    vec![
        count("plugins", Node, limits.max_plugins, "bounds what all of them take together")
            .key("plugins.max_plugins")
            .used(usage.plugins),
        bytes("plugin memory", Plugin, limits.max_memory, "one that needs more fails; the node does not")
            .key("plugins.max_memory"),
        time("plugin turn", Plugin, limits.max_turn_time, "CPU time for one batch of events")
            .key("plugins.max_turn_time"),
        bytes("plugin store", Plugin, limits.max_store, "what it may keep on disk").key("plugins.max_store"),
        bytes("plugin mailbox", Plugin, limits.max_mailbox, "beyond it, peers are held back")
            .key("plugins.max_mailbox"),
        bytes("plugin file", Plugin, limits.max_file, "it is read and looked at whole").key("plugins.max_file"),
        time("compiling a plugin", Plugin, limits.compile_time, "CPU time of the process that compiles")
            .key("plugins.compile_time"),
        bytes("compiling a plugin: memory", Plugin, limits.compile_memory, "address space of that process")
            .key("plugins.compile_memory"),
        bytes("compiled plugins", Node, limits.code_cache, "what is kept of them on disk").key("plugins.code_cache"),
        time("probation", Plugin, limits.probation, "a new version is watched for this long after an upgrade")
            .key("plugins.probation"),
        count("crashes on probation", Plugin, limits.probation_crashes, "then the version before comes back")
            .key("plugins.probation_crashes"),
    ]
}

fn faults(config: &Config) -> Vec<Limit> {
    use Scope::{Peer, Plugin};
    let PluginFaults { supervision, mute, dead_letters, dead_letter_bytes } = config.plugin_faults;
    vec![
        count("crashes of one cause", Plugin, supervision.crashes, "then it is quarantined").key("plugins.crashes"),
        time("crash window", Plugin, supervision.window, "older crashes do not count").key("plugins.crash_window"),
        time("backoff", Plugin, supervision.backoff, "from the third crash on it is started again later")
            .key("plugins.backoff"),
        time("longest backoff", Plugin, supervision.longest_backoff, "its messages wait meanwhile")
            .key("plugins.longest_backoff"),
        time("quarantine", Plugin, supervision.quarantine, "the first, before it is tried again")
            .key("plugins.quarantine"),
        time("longest quarantine", Plugin, supervision.longest_quarantine, "each is twice as long as the one before")
            .key("plugins.longest_quarantine"),
        time("calm", Plugin, supervision.calm, "without a quarantine, before the next is the first again")
            .key("plugins.calm"),
        count("poisons", Peer, mute.poisons, "then it is muted for the plugin").key("plugins.mute_poisons"),
        count("reports", Peer, mute.reports, "then it is muted at the plugin's word").key("plugins.mute_reports"),
        time("mute window", Peer, mute.window, "older poisons and reports do not count").key("plugins.mute_window"),
        time("mute", Peer, mute.first, "the first").key("plugins.mute"),
        time("longest mute", Peer, mute.longest, "each is twice as long as the one before").key("plugins.longest_mute"),
        time("mute memory", Peer, mute.memory, "without poison, before it is like any other")
            .key("plugins.mute_memory"),
        count("dead letters", Plugin, dead_letters, "the oldest go").key("plugins.dead_letters"),
        bytes("dead letters: bytes", Plugin, dead_letter_bytes, "they are on disk, the oldest go")
            .key("plugins.dead_letter_bytes"),
    ]
}

fn timeouts(config: &Config) -> Vec<Limit> {
    use Scope::{Connection, Peer};
    let timeouts = &config.timeouts;
    vec![
        time("idle", Connection, timeouts.idle, "a peer silent for this long is gone").key("timeouts.idle"),
        time("keep-alive", Connection, timeouts.keep_alive, "a silent peer is asked this often")
            .key("timeouts.keep_alive"),
        time("handshake", Connection, timeouts.handshake, "strangers must not hold places").key("timeouts.handshake"),
        time("spare connection", Connection, timeouts.spare_connection, "one that the load does not need costs memory")
            .key("timeouts.spare_connection"),
        time("dial", Connection, DIAL_TIMEOUT, "holds even when the handshake's own deadline fails"),
        time("hello", Connection, HELLO_TIMEOUT, "to the peer's hello, and again to its decision"),
        time("probe", Connection, PROBE_TIMEOUT, "an older connection that stays silent for this long is replaced"),
        time("drain", Connection, DRAIN_TIMEOUT, "streams may finish before a deliberate close"),
        time("refusal", Connection, REFUSAL_LINGER, "the peer may read why before it is closed"),
        time("reconnect", Peer, config.reconnect.max_wait, "the longest wait between two attempts")
            .key("reconnect.max_wait"),
        time("settled", Connection, config.reconnect.settled, "one that lived this long forgives failures before it")
            .key("reconnect.settled"),
        time("next address", Peer, config.reconnect.next_address, "then another address is dialed beside it")
            .key("reconnect.next_address"),
        time(
            "push",
            Connection,
            PUSH_TIMEOUT,
            "a peer that has not said so far that it has our protocols is told again",
        ),
        time("control write", Connection, WRITE_TIMEOUT, "a peer that does not read is not worth keeping"),
    ]
}

/// How long what goes over streams may wait.
fn waits(config: &Config, receive: &ReceivePolicy) -> Vec<Limit> {
    use Scope::{Lane, Node, Stream};
    let patience = BudgetLimits::for_messages(config.limits.max_message).patience;
    vec![
        time("taking nothing", Lane, patience, "then what is queued is given up, if others wait for the room it holds"),
        time("stream header", Stream, receive.header_wait, "for the protocol set it names, then for the stream before"),
        time("unused stream", Stream, PoolPolicy::default().idle_for, "one that was used holds buffers on both sides"),
        time("ask", Node, LONGEST_ASK, "an ask or a request that names a longer time gets this one"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::all_keys;

    fn all() -> Vec<Limit> {
        table(&Config::default(), &ReceivePolicy::default(), &Usage::default())
    }

    #[test]
    fn every_limit_that_the_configuration_has_stands_in_the_table() {
        let table = all();
        let limits = |key: &String| {
            let section = key.split('.').next().unwrap_or_default();
            matches!(section, "limits" | "timeouts" | "reconnect") && key.contains('.')
                || key.starts_with("plugins.") && !key.starts_with("plugins.NAME") && !no_limit(key)
        };
        // Which files may run, and when the folder is looked at.
        fn no_limit(key: &str) -> bool {
            ["plugins.signatures", "plugins.trusted_keys", "plugins.watch"].contains(&key)
        }
        for key in all_keys().into_iter().filter(limits) {
            assert!(table.iter().any(|limit| limit.key == Some(key.as_str())), "{key} is missing");
        }
        let known = all_keys();
        assert!(table.iter().filter_map(|limit| limit.key).all(|key| known.contains(&key.to_owned())));
    }

    #[test]
    fn name_and_scope_name_one_limit_and_each_says_why() {
        let table = all();
        for (at, limit) in table.iter().enumerate() {
            let twin = |other: &Limit| (other.name, other.scope) == (limit.name, limit.scope);
            assert!(!table[..at].iter().any(twin), "{limit:?}");
            assert!(!limit.why.is_empty() && limit.value != LimitValue::Number(u64::MAX), "{limit:?}");
        }
    }

    #[test]
    fn limits_without_a_key_stand_there_too() {
        let table = all();
        let there = |name: &str, scope| table.iter().any(|limit| (limit.name, limit.scope) == (name, scope));
        assert!(
            there(names::ASKS, Scope::Node)
                && there("addresses of one dial", Scope::Peer)
                && there("dials", Scope::Node)
        );
        assert!(
            there("push", Scope::Connection)
                && there(names::REQUESTS, Scope::Lane)
                && there(names::REQUESTS, Scope::Peer)
        );
        assert!(there(names::REQUESTS, Scope::Node) && there(names::UNTAKEN, Scope::Node));
        for scope in [Scope::Lane, Scope::Plugin] {
            assert!(there("queued", scope) && there("queued until congested", scope), "{scope:?}");
        }
        assert!(there("taking nothing", Scope::Lane) && there("send streams", Scope::Lane));
        assert!(there("lanes whose order is known", Scope::Peer) && there("receive streams", Scope::Connection));
        assert!(there("stream header", Scope::Stream) && there("unused stream", Scope::Stream));
        assert!(there("connections that drain", Scope::Node) && there("ask", Scope::Node));
    }

    #[test]
    fn what_a_refusal_names_is_a_row() {
        let table = all();
        for (scope, name) in names::ALL {
            assert!(table.iter().any(|limit| (limit.name, limit.scope) == (name, scope)), "{name} of a {scope:?}");
        }
    }

    #[test]
    fn the_values_are_those_in_force() {
        let mut config = Config::default();
        (config.limits.max_peers, config.limits.reserved_outbound) = (10, Some(3));
        let connections = ManagerStatus { peers: 4, inbound_ordinary: 2, ..ManagerStatus::default() };
        let usage = Usage { connections, ..Usage::default() };
        let table = table(&config, &ReceivePolicy::default(), &usage);
        let find = |name: &str| table.iter().find(|limit| limit.name == name).expect("there");
        assert_eq!((find("peers").value.clone(), find("peers").in_use), (LimitValue::Number(10), Some(4)));
        let inbound = find("ordinary peers that dialed this node");
        assert_eq!((inbound.value.clone(), inbound.in_use), (LimitValue::Number(7), Some(2)));
        let json = serde_json::to_value(find("eviction")).expect("serializes");
        assert_eq!((json["value"].as_str(), json["unit"].as_str()), (Some("lifo"), Some("choice")));
    }
}
