//! What a plugin uses of its budgets, as an operator sees it.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use super::home::Home;

/// In what a budget is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetUnit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
}

/// One budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BudgetUse {
    /// In what the two are counted.
    pub unit: BudgetUnit,
    /// What is used now, or was in the last second.
    pub used: u64,
    /// What may be used.
    pub limit: u64,
}

impl Home {
    /// Every budget of which something can be in use between two turns, by the name of its key.
    pub(super) fn usage(&self, memory: u64) -> BTreeMap<&'static str, BudgetUse> {
        let policy = self.policy();
        let waiting = self.mailbox.waiting();
        let (asks, timers) = {
            let ledger = self.ledger();
            (ledger.asks.len() + ledger.calls.len(), ledger.timers.len())
        };
        let lines = self.log_budget().used(Instant::now(), policy.log_lines);
        let one = |unit| move |used: u64, limit: u64| BudgetUse { unit, used, limit };
        let (bytes, count) = (one(BudgetUnit::Bytes), one(BudgetUnit::Count));
        BTreeMap::from([
            ("memory", bytes(memory, policy.memory)),
            ("mailbox", bytes(waiting.bytes as u64, policy.mailbox_bytes as u64)),
            ("mailbox_events", count(waiting.events as u64, policy.mailbox_events as u64)),
            ("mailbox_commands", count(waiting.commands as u64, policy.mailbox_commands as u64)),
            ("store", bytes(self.namespace.used(), policy.store_bytes)),
            ("timers", count(timers as u64, policy.timers.into())),
            ("open_asks", count(asks as u64, policy.open_asks.into())),
            ("metrics", count(self.metrics().len() as u64, policy.metrics as u64)),
            ("log_lines", one(BudgetUnit::PerSecond)(lines, policy.log_lines.into())),
        ])
    }
}
