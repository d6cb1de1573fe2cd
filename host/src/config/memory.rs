//! The most memory a configuration can make the node hold, and what to change when that is too much.

use std::fmt;

use serde::Serialize;

use super::{Limits, format_size};
use crate::connection::ConnectionLimits;
use crate::plugin::{PluginBudgets, PluginPolicy};
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
/// What the host holds for the turns that run.
const PLUGIN_TURNS: &str = "turns of plugins";

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
    pub(super) fn of(limits: &Limits, plugins: PluginDemand) -> Self {
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
        for (name, bytes) in [(PLUGIN_MEMORY, plugins.memory), (PLUGIN_TURNS, plugins.turns)] {
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
