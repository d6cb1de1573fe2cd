//! The most memory a configuration can make the node hold, and what to change when that is too much.

use std::fmt;

use serde::Serialize;

use super::{Limits, Reconnect, format_size};
use crate::connection::ConnectionLimits;
use crate::plugin::{PluginBudgets, PluginPolicy};
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
const PLUGIN_LOGS: &str = "logs of plugins";
/// What the host holds for the turns that run.
const PLUGIN_TURNS: &str = "turns of plugins";

/// What native handlers hold: see [`MemoryBound::of`].
const NATIVE: &str = "native handlers";
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
        "mailboxes" => &["plugins.max_mailbox", "plugins.NAME.mailbox", "plugins.max_plugins"],
        "outbound budgets" => &["limits.max_message", "plugins.max_plugins"],
        PLUGIN_MEMORY => &["plugins.max_memory", "plugins.NAME.memory", "plugins.max_plugins"],
        PLUGIN_TURNS => &["plugins.max_plugins", "plugins.NAME.host_call"],
        PLUGIN_LOGS => &["plugins.max_plugins"],
        NATIVE => &["limits.native_handlers", "plugins.max_mailbox", "limits.max_message"],
        SETS => &["limits.max_peers", "limits.max_pending_handshakes"],
        BOOK => &["reconnect.remembered_peers"],
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

/// What all plugins together may take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PluginDemand {
    plugins: u32,
    memory: u64,
    mailboxes: u64,
    turns: u64,
}

impl PluginDemand {
    /// Of `most` plugins: those that have budgets of their own, the largest first, and the rest as the node has it.
    pub(super) fn of<'a>(node: &PluginPolicy, most: u32, named: impl Iterator<Item = &'a PluginBudgets>) -> Self {
        let mut policies: Vec<_> = named.map(|budgets| budgets.apply(node)).collect();
        let size = |policy: &PluginPolicy| policy.memory.saturating_add(policy.mailbox_bytes as u64);
        policies.sort_by_key(|policy| std::cmp::Reverse(size(policy)));
        // A plugin that is named and not loaded leaves its place to one that is not named.
        policies.extend(std::iter::repeat_n(node.clone(), most as usize));
        policies.sort_by_key(|policy| std::cmp::Reverse(size(policy)));
        policies.truncate(most as usize);
        let sum = |of: fn(&PluginPolicy) -> u64| policies.iter().map(of).fold(0, u64::saturating_add);
        // During an upgrade both revisions of a plugin live, and what the old one hands over; one upgrade at a time.
        let largest = |of: fn(&PluginPolicy) -> u64| policies.iter().map(of).max().unwrap_or(0);
        Self {
            plugins: most,
            memory: sum(|policy| policy.memory).saturating_add(largest(|policy| policy.memory)),
            mailboxes: sum(|policy| policy.mailbox_bytes as u64),
            turns: sum(PluginPolicy::turn_memory).saturating_add(largest(|policy| policy.snapshot as u64)),
        }
    }
}

impl MemoryBound {
    pub(super) fn of(limits: &Limits, plugins: PluginDemand, mailbox: u64, reconnect: &Reconnect) -> Self {
        let outbound = BudgetLimits::for_messages(limits.max_message).hard as u64;
        let demand = MemoryDemand {
            connections: connections(limits),
            pending_handshakes: limits.max_pending_handshakes,
            mailboxes: plugins.mailboxes,
            assembly: ReceivePolicy::assembly_for(limits.max_message) as u64,
            // All protocols of a plugin share one budget.
            outbound: outbound.saturating_mul(plugins.plugins.into()),
        };
        let network = limits.streams().memory_bound(&demand);
        let mut terms: Vec<_> =
            network.terms.iter().map(|t| MemoryTerm { name: t.name, bytes: t.bytes, keys: keys_of(t.name) }).collect();
        let logged = crate::plugin::most_logged(plugins.plugins);
        // A native handler has a mailbox and an outbound budget like a plugin, and no memory of its own.
        let native = mailbox.saturating_add(outbound).saturating_mul(limits.native_handlers.into());
        terms.push(MemoryTerm { name: NATIVE, bytes: native, keys: keys_of(NATIVE) });
        terms.extend(of_peers(limits, reconnect));
        for (name, bytes) in [(PLUGIN_MEMORY, plugins.memory), (PLUGIN_TURNS, plugins.turns), (PLUGIN_LOGS, logged)] {
            terms.push(MemoryTerm { name, bytes, keys: keys_of(name) });
        }
        let bytes = terms.iter().fold(0_u64, |sum, term| sum.saturating_add(term.bytes));
        Self { bytes, terms }
    }

    /// What to say when the bound is above a limit.
    pub fn exceeds(&self, limit: u64) -> Option<MemoryExceeded> {
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
