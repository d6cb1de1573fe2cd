//! `timers`: staged; they belong to the plugin and outlive its instances.

use std::time::Duration;

use crate::plugin::abi::weir::plugin::timers::Host;
use crate::plugin::instance::InstanceState;
use crate::plugin::turn::Effect;

impl Host for InstanceState {
    fn set(&mut self, id: u64, after_ms: u64) -> wasmtime::Result<bool> {
        if !self.staged.fits(0) || !self.may_set(id) {
            return Ok(false);
        }
        let (after, before) = (Duration::from_millis(after_ms), self.staged.timer(id));
        self.stage(Effect::TimerSet { id, after, before })?;
        Ok(true)
    }

    fn cancel(&mut self, id: u64) -> wasmtime::Result<()> {
        let before = self.staged.timer(id);
        self.stage(Effect::TimerCancel { id, before })
    }
}

impl InstanceState {
    /// Whether one more timer fits, or the id is set already. The count is an upper bound within a turn that
    /// cancels some: each id the turn sets counts beside those that were set before.
    fn may_set(&self, id: u64) -> bool {
        let ledger = self.home.ledger();
        if self.staged.timer(id).unwrap_or_else(|| ledger.timers.contains(id)) {
            return true;
        }
        let room = self.policy.timers as usize;
        // Most plugins are far from the limit; only near it is the exact number worth counting.
        if ledger.timers.len() + self.staged.timer_changes() < room {
            return true;
        }
        let change = self.staged.timers().map(|(id, set)| i64::from(set) - i64::from(ledger.timers.contains(id)));
        (ledger.timers.len() as i64).saturating_add(change.sum()) < room as i64
    }
}
