//! The most memory a configuration can make the node hold, and what to change when that is too much.

use std::fmt;

use serde::Serialize;

use super::{Limits, PluginLimits, format_size};
use crate::connection::ConnectionLimits;
use crate::stream::{BudgetLimits, ReceivePolicy};
use crate::transport::MemoryDemand;

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
        "mailboxes" => &["plugins.max_mailbox", "plugins.max_plugins"],
        "outbound budgets" => &["limits.max_message", "plugins.max_plugins"],
        PLUGIN_MEMORY => &["plugins.max_memory", "plugins.max_plugins"],
        PLUGIN_LOGS => &["plugins.max_plugins"],
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
    pub(super) fn of(limits: &Limits, plugins: &PluginLimits) -> Self {
        // During an upgrade both revisions of a plugin live.
        let instances = u64::from(plugins.max_plugins) + u64::from(plugins.max_plugins > 0);
        let outbound = BudgetLimits::for_messages(limits.max_message).hard as u64;
        let demand = MemoryDemand {
            connections: connections(limits),
            pending_handshakes: limits.max_pending_handshakes,
            mailboxes: plugins.max_mailbox.saturating_mul(plugins.max_plugins.into()),
            assembly: ReceivePolicy::assembly_for(limits.max_message) as u64,
            // All protocols of a plugin share one budget.
            outbound: outbound.saturating_mul(plugins.max_plugins.into()),
        };
        let network = limits.streams().memory_bound(&demand);
        let mut terms: Vec<_> =
            network.terms.iter().map(|t| MemoryTerm { name: t.name, bytes: t.bytes, keys: keys_of(t.name) }).collect();
        let bytes = plugins.max_memory.saturating_mul(instances);
        terms.push(MemoryTerm { name: PLUGIN_MEMORY, bytes, keys: keys_of(PLUGIN_MEMORY) });
        let bytes = crate::plugin::most_logged(plugins.max_plugins);
        terms.push(MemoryTerm { name: PLUGIN_LOGS, bytes, keys: keys_of(PLUGIN_LOGS) });
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
