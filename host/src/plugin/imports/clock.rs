//! `clock`: the date of the turn.

use crate::plugin::abi::weir::plugin::clock::Host;
use crate::plugin::instance::InstanceState;

impl Host for InstanceState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now)
    }
}
