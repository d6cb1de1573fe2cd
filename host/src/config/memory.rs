//! The most memory a configuration can make the node hold, and what to change when that is too much.

use std::fmt;

use serde::Serialize;

use super::{Limits, PluginLimits, Reconnect, format_size};
use crate::connection::ConnectionLimits;
use crate::protocol::{MAX_ASKS, MAX_REQUESTS_OF_NODE, REQUEST_MEMORY};
use crate::stream::{BudgetLimits, ReceivePolicy};
use crate::supervisor::MAX_WATCHED;
use crate::transport::MemoryDemand;
use crate::wire::MAX_PROTOCOLS;

/// One summand of the bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryTerm {
    /// What it holds.
    pub name: &'static str,
    /// How much at most.
    pub bytes: u64,
    /// The keys that make it large, the most effective first.
    pub keys: &'static [&'static str],
}

/// What the transport's arithmetic does not know: it ends where a plugin's own memory begins.
const PLUGIN_MEMORY: &str = "memory of plugins";

/// What is kept of peers: see [`of_peers`].
const REQUESTS: &str = "asks and requests";
const SETS: &str = "protocol sets";
const BOOK: &str = "address book";

/// What one protocol of a peer's set holds at most, in bytes: an id of 128, in the set itself, in the picture that
/// subscribers have, and with the pair of the two nodes.
const PROTOCOL_MEMORY: u64 = 512;
/// What is remembered of where one peer is, in bytes: a signed record with 16 addresses, encoded and decoded, and what
/// the operator said.
const PLACE_MEMORY: u64 = 4 << 10;

/// What the node keeps of peers besides their traffic.
fn of_peers(limits: &Limits, reconnect: &Reconnect) -> [MemoryTerm; 3] {
    let requests = ((MAX_ASKS + MAX_REQUESTS_OF_NODE) * REQUEST_MEMORY) as u64;
    // A hello is held from when it came until its connection is decided.
    let sets = u64::from(connections(limits)) + u64::from(limits.max_pending_handshakes);
    let sets = sets.saturating_mul(MAX_PROTOCOLS as u64 * PROTOCOL_MEMORY);
    let book = (u64::from(reconnect.remembered_peers) + MAX_WATCHED as u64) * PLACE_MEMORY;
    [(REQUESTS, requests), (SETS, sets), (BOOK, book)].map(|(name, bytes)| MemoryTerm {
        name,
        bytes,
        keys: keys_of(name),
    })
}

/// The keys that make a term large, the most effective first.
fn keys_of(term: &str) -> &'static [&'static str] {
    match term {
        "connections" => &[
            "limits.stream_window",
            "limits.send_buffer",
            "limits.max_streams",
            "limits.max_peers",
            "limits.connections_per_peer",
        ],
        "pending handshakes" => {
            &["limits.max_pending_handshakes", "limits.stream_window", "limits.send_buffer", "limits.max_streams"]
        }
        "mailboxes" => &["plugins.max_mailbox", "plugins.max_plugins", "limits.native_handlers"],
        "outbound budgets" => &["limits.max_message", "plugins.max_plugins", "limits.native_handlers"],
        SETS => &["limits.max_peers", "limits.max_pending_handshakes"],
        BOOK => &["reconnect.remembered_peers"],
        PLUGIN_MEMORY => &["plugins.max_memory", "plugins.max_plugins"],
        _ => &[],
    }
}

/// The bound and its summands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryBound {
    /// The sum, in bytes.
    pub bytes: u64,
    /// Its summands.
    pub terms: Vec<MemoryTerm>,
}

/// Those that are admitted at once and those that drain beside them.
fn connections(limits: &Limits) -> u32 {
    let places = limits.max_peers.saturating_mul(limits.connections_per_peer);
    let draining = ConnectionLimits::draining_beside(places as usize);
    places.saturating_add(u32::try_from(draining).unwrap_or(u32::MAX))
}

impl MemoryBound {
    pub(super) fn of(limits: &Limits, plugins: &PluginLimits, reconnect: &Reconnect) -> Self {
        let owners = u64::from(plugins.max_plugins) + u64::from(limits.native_handlers);
        // During an upgrade both revisions of a plugin live.
        let instances = u64::from(plugins.max_plugins) + u64::from(plugins.max_plugins > 0);
        let outbound = BudgetLimits::for_messages(limits.max_message).hard as u64;
        let demand = MemoryDemand {
            connections: connections(limits),
            pending_handshakes: limits.max_pending_handshakes,
            mailboxes: plugins.max_mailbox.saturating_mul(owners),
            assembly: ReceivePolicy::assembly_for(limits.max_message) as u64,
            // All protocols of a plugin, or of a native handler, share one budget.
            outbound: outbound.saturating_mul(owners),
        };
        let network = limits.streams().memory_bound(&demand);
        let mut terms: Vec<_> =
            network.terms.iter().map(|t| MemoryTerm { name: t.name, bytes: t.bytes, keys: keys_of(t.name) }).collect();
        terms.extend(of_peers(limits, reconnect));
        let bytes = plugins.max_memory.saturating_mul(instances);
        terms.push(MemoryTerm { name: PLUGIN_MEMORY, bytes, keys: keys_of(PLUGIN_MEMORY) });
        let bytes = terms.iter().fold(0_u64, |sum, term| sum.saturating_add(term.bytes));
        Self { bytes, terms }
    }

    pub(super) fn exceeds(&self, limit: u64) -> Option<MemoryExceeded> {
        (self.bytes > limit).then(|| MemoryExceeded { bound: self.clone(), limit })
    }
}

/// A configuration whose bound is above its `limits.memory_limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryExceeded {
    /// What it could need.
    pub bound: MemoryBound,
    /// What it may need, in bytes.
    pub limit: u64,
}

impl fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, limit) = (format_size(self.bound.bytes), format_size(self.limit));
        write!(f, "with this configuration the node could need {bound}, but limits.memory_limit is {limit}")?;
        if let Some(largest) = self.bound.terms.iter().max_by_key(|term| term.bytes) {
            let (name, size) = (largest.name, format_size(largest.bytes));
            write!(f, "; the largest part is {size} for {name}")?;
            if !largest.keys.is_empty() {
                write!(f, ": lower {}", largest.keys.join(" or "))?;
            }
            write!(f, ", or raise limits.memory_limit to at least {}", at_least(self.bound.bytes))?;
        }
        write!(f, " (all parts: ")?;
        for (index, term) in self.bound.terms.iter().enumerate() {
            write!(f, "{}{} {}", if index == 0 { "" } else { ", " }, term.name, format_size(term.bytes))?;
        }
        write!(f, ")")
    }
}

/// A size that can be written in the file and holds `bytes`.
fn at_least(bytes: u64) -> String {
    format!("\"{} MiB\"", bytes.div_ceil(1 << 20))
}
