//! What an operator sets for one plugin in place of the node's own budgets. Pure.

use std::time::Duration;

use super::PluginPolicy;

macro_rules! budgets {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The budgets of [`PluginPolicy`] that may differ from plugin to plugin; what is not set is as the node has it.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct PluginBudgets {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl PluginBudgets {
            /// The node's policy with these budgets in it.
            pub fn apply(&self, node: &PluginPolicy) -> PluginPolicy {
                PluginPolicy { $($name: self.$name.unwrap_or(node.$name),)* ..node.clone() }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_the_node_has_it() {
        let node = PluginPolicy { timers: 7, ..PluginPolicy::default() };
        assert_eq!(PluginBudgets::default().apply(&node), node);
        let budgets = PluginBudgets { memory: Some(1 << 20), ..PluginBudgets::default() };
        assert_eq!(budgets.apply(&node), PluginPolicy { memory: 1 << 20, ..node });
    }
}
