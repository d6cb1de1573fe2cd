//! What an operator sets for one plugin in place of the node's own budgets. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PluginPolicy;

/// Where a budget stands in a policy: under its own name, or within a part of it.
macro_rules! place {
    ($policy:ident, $name:ident) => {
        $policy.$name
    };
    ($policy:ident, $name:ident, $($path:ident).+) => {
        $policy.$($path).+
    };
}

macro_rules! budgets {
    ($($(#[$doc:meta])* $name:ident: $type:ty $(= $($path:ident).+)?,)*) => {
        /// The budgets of [`PluginPolicy`] that may differ from plugin to plugin; what is not set is as the node has it.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct PluginBudgets {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl PluginBudgets {
            /// The node's policy with these budgets in it.
            pub fn apply(&self, node: &PluginPolicy) -> PluginPolicy {
                let mut policy = node.clone();
                $(if let Some(value) = self.$name {
                    let place = &mut place!(policy, $name $(, $($path).+)?);
                    *place = value;
                })*
                policy
            }

            /// What is not set here is as `other` has it.
            #[must_use]
            pub fn or(self, other: &Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}

budgets! {
    /// See [`PluginPolicy::turn_time`].
    turn_time: Duration,
    /// See [`PluginPolicy::start_time`].
    start_time: Duration,
    /// See [`PluginPolicy::memory`].
    memory: u64,
    /// See [`PluginPolicy::table_elements`].
    table_elements: usize,
    /// See [`PluginPolicy::mailbox_events`].
    mailbox_events: usize,
    /// See [`PluginPolicy::mailbox_bytes`].
    mailbox_bytes: usize,
    /// See [`PluginPolicy::mailbox_commands`].
    mailbox_commands: usize,
    /// See [`PluginPolicy::batch_events`].
    batch_events: usize,
    /// See [`PluginPolicy::batch_bytes`].
    batch_bytes: usize,
    /// See [`PluginPolicy::turn_effects`].
    turn_effects: u32,
    /// See [`PluginPolicy::turn_bytes`].
    turn_bytes: u32,
    /// See [`PluginPolicy::turn_writes`].
    turn_writes: usize,
    /// See [`PluginPolicy::open_asks`].
    open_asks: u32,
    /// See [`PluginPolicy::open_calls`].
    open_calls: u32,
    /// See [`PluginPolicy::calls_per_second`].
    calls_per_second: u32,
    /// See [`PluginPolicy::store_bytes`].
    store_bytes: u64,
    /// See [`PluginPolicy::timers`].
    timers: u32,
    /// See [`PluginPolicy::snapshot`].
    snapshot: usize,
    /// See [`PluginPolicy::protocols`].
    protocols: usize,
    /// See [`PluginPolicy::log_lines`].
    log_lines: u32,
    /// See [`PluginPolicy::metrics`].
    metrics: usize,
    /// See [`PluginPolicy::host_call`].
    host_call: usize,
    /// See [`SupervisionPolicy::crashes`](super::SupervisionPolicy::crashes).
    crashes: usize = supervision.crashes,
    /// See [`SupervisionPolicy::window`](super::SupervisionPolicy::window).
    crash_window: Duration = supervision.window,
    /// See [`SupervisionPolicy::backoff`](super::SupervisionPolicy::backoff).
    backoff: Duration = supervision.backoff,
    /// See [`SupervisionPolicy::longest_backoff`](super::SupervisionPolicy::longest_backoff).
    longest_backoff: Duration = supervision.longest_backoff,
    /// See [`SupervisionPolicy::quarantine`](super::SupervisionPolicy::quarantine).
    quarantine: Duration = supervision.quarantine,
    /// See [`SupervisionPolicy::longest_quarantine`](super::SupervisionPolicy::longest_quarantine).
    longest_quarantine: Duration = supervision.longest_quarantine,
    /// See [`SupervisionPolicy::calm`](super::SupervisionPolicy::calm).
    calm: Duration = supervision.calm,
    /// See [`MutePolicy::poisons`](super::MutePolicy::poisons).
    mute_poisons: usize = mute.poisons,
    /// See [`MutePolicy::reports`](super::MutePolicy::reports).
    mute_reports: usize = mute.reports,
    /// See [`MutePolicy::window`](super::MutePolicy::window).
    mute_window: Duration = mute.window,
    /// See [`MutePolicy::first`](super::MutePolicy::first).
    mute: Duration = mute.first,
    /// See [`MutePolicy::longest`](super::MutePolicy::longest).
    longest_mute: Duration = mute.longest,
    /// See [`MutePolicy::memory`](super::MutePolicy::memory).
    mute_memory: Duration = mute.memory,
    /// See [`PluginPolicy::dead_letters`].
    dead_letters: usize,
    /// See [`PluginPolicy::dead_letter_bytes`].
    dead_letter_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_the_node_has_it() {
        let node = PluginPolicy { timers: 7, ..PluginPolicy::default() };
        assert_eq!(PluginBudgets::default().apply(&node), node);
        let budgets = PluginBudgets { memory: Some(1 << 20), ..PluginBudgets::default() };
        assert_eq!(budgets.apply(&node), PluginPolicy { memory: 1 << 20, ..node.clone() });
        let budgets = PluginBudgets { crashes: Some(9), ..PluginBudgets::default() };
        let policy = budgets.apply(&node);
        assert_eq!((policy.supervision.crashes, policy.supervision.window), (9, node.supervision.window));
    }
}
