//! The most memory a configuration can make the node hold, and what to change when that is too much.

use std::fmt;

use serde::Serialize;

use super::{Limits, PluginLimits, format_size};
use crate::transport::windows;

/// What the lanes of one plugin may hold together, in bytes.
const OUTBOUND_BUDGET: u64 = 16 << 20;

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

/// The bound and its summands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryBound {
    /// The sum, in bytes.
    pub bytes: u64,
    /// Its summands.
    pub terms: Vec<MemoryTerm>,
}

impl MemoryBound {
    pub(super) fn of(limits: &Limits, plugins: &PluginLimits) -> Self {
        let network = windows::memory_bound(
            u64::from(limits.max_peers),
            u64::from(limits.max_pending_handshakes),
            u64::from(limits.max_streams),
            limits.stream_window,
            limits.send_buffer,
        );
        // During an upgrade both revisions of a plugin live.
        let instances = u64::from(plugins.max_plugins) + u64::from(plugins.max_plugins > 0);
        let queues = plugins.max_mailbox.saturating_add(OUTBOUND_BUDGET);
        let terms = vec![
            MemoryTerm {
                name: "receive windows of connections",
                bytes: network.receive,
                keys: &["limits.stream_window", "limits.max_streams", "limits.max_peers"],
            },
            MemoryTerm {
                name: "send buffers of connections",
                bytes: network.send,
                keys: &["limits.send_buffer", "limits.max_streams", "limits.max_peers"],
            },
            MemoryTerm {
                name: "memory of plugins",
                bytes: plugins.max_memory.saturating_mul(instances),
                keys: &["plugins.max_memory", "plugins.max_plugins"],
            },
            MemoryTerm {
                name: "queues of plugins",
                bytes: queues.saturating_mul(u64::from(plugins.max_plugins)),
                keys: &["plugins.max_mailbox", "plugins.max_plugins"],
            },
        ];
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
            write!(f, "; the largest part is {size} for the {name}: lower {}", largest.keys.join(" or "))?;
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
