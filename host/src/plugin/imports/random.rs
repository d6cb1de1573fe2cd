//! `random`: numbers from the node's own source.

use crate::plugin::abi::weir::plugin::random::Host;
use crate::plugin::instance::InstanceState;

/// Most bytes one call draws.
const MAX_BYTES: u32 = 1 << 16;

impl Host for InstanceState {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > MAX_BYTES {
            wasmtime::bail!("random.bytes draws at most {MAX_BYTES} bytes at once and was asked for {len}");
        }
        let mut bytes = vec![0; len as usize];
        self.home.services.runtime.entropy.fill(&mut bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        Ok(self.home.services.runtime.entropy.number())
    }
}
