//! `turn`: takes staged effects back.

use crate::plugin::abi::weir::plugin::turn::Host;
use crate::plugin::instance::InstanceState;

impl Host for InstanceState {
    fn keep(&mut self, effects: u32) -> wasmtime::Result<()> {
        self.staged.keep(effects as usize);
        Ok(())
    }
}
