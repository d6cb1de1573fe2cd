//! `metrics`: numbers the plugin shows, at once.

use crate::plugin::abi::weir::plugin::metrics::Host;
use crate::plugin::instance::InstanceState;

impl Host for InstanceState {
    fn count(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        if !self.aside {
            self.home.metrics().count(&name, by);
        }
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        if !self.aside {
            self.home.metrics().gauge(&name, value);
        }
        Ok(())
    }
}
