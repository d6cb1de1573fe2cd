//! `clock`: the date of the turn, and a stopwatch.

use crate::plugin::abi::weir::plugin::clock::Host;
use crate::plugin::instance::InstanceState;

impl Host for InstanceState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now)
    }

    /// Whole microseconds: enough to measure a round trip, too coarse to watch a cache.
    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        let services = &self.home.services;
        Ok(services.runtime.clock.micros_since(services.started))
    }
}
