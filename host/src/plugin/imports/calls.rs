//! `calls`: commands are answered and other plugins called. Staged.

use std::time::Duration;

use bytes::Bytes;

use super::bounded;
use crate::plugin::abi::types::Failure;
use crate::plugin::abi::weir::plugin::calls::{CallRefused, Host};
use crate::plugin::calls::PairRefused;
use crate::plugin::home::add;
use crate::plugin::instance::InstanceState;
use crate::plugin::turn::Effect;
use crate::wire::DEFAULT_MAX_MESSAGE;

impl Host for InstanceState {
    fn call(
        &mut self,
        plugin: String,
        name: String,
        timeout_ms: u32,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<u64, CallRefused>> {
        if !self.grants.call(&plugin) {
            return Ok(Err(CallRefused::NotGranted));
        }
        if body.len() > DEFAULT_MAX_MESSAGE as usize || name.len() > 256 {
            return Ok(Err(CallRefused::TooLarge));
        }
        if self.open_asks() >= self.policy.open_asks as usize {
            return Ok(Err(CallRefused::Busy));
        }
        let staged = self.staged.calls_to(&plugin);
        if let Err(refused) = self.home.services.desk.may_call(&self.home.name, &plugin, staged) {
            add(&self.home.counts.calls_refused, 1);
            return Ok(Err(match refused {
                PairRefused::TooManyOpen => CallRefused::Busy,
                PairRefused::TooFast => CallRefused::OverBudget,
            }));
        }
        if !self.staged.fits(body.len()) {
            return Ok(Err(CallRefused::OverBudget));
        }
        let id = self.home.services.desk.next();
        let timeout = Duration::from_millis(timeout_ms.into()).min(self.home.policy().call_timeout);
        self.stage(Effect::Call { id, plugin, name, timeout, body: Bytes::from(body) })?;
        Ok(Ok(id))
    }

    fn answer(&mut self, command: u64, outcome: Result<Vec<u8>, Failure>) -> wasmtime::Result<bool> {
        let ours = self.home.ledger().commands.contains(&command);
        if !ours || self.staged.answered_command(command) || !self.home.services.desk.awaits(command) {
            return Ok(false);
        }
        self.stage(Effect::Answer { command, outcome: bounded(outcome, DEFAULT_MAX_MESSAGE) })?;
        Ok(true)
    }
}
