//! `store`: the plugin's durable keys, with the turn's own writes on top.

use crate::plugin::abi::weir::plugin::store::{Host, Page, Range, WriteError};
use crate::plugin::instance::InstanceState;
use crate::plugin::store::{PutError, ScanRange};
use crate::plugin::turn::Effect;

/// Most bytes one page carries, whatever was asked for.
const MAX_PAGE: u32 = 1 << 20;

impl Host for InstanceState {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.staged.writes.get(&key)?)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), WriteError>> {
        if !self.staged.fits(0) {
            return Ok(Err(WriteError::OverBudget));
        }
        let mark = self.staged.writes.mark();
        Ok(match self.staged.writes.put(key, value) {
            Ok(()) => {
                self.stage(Effect::Write(mark))?;
                Ok(())
            }
            Err(PutError::KeyTooLong { .. }) => Err(WriteError::KeyTooLong),
            Err(PutError::ValueTooLarge { .. }) => Err(WriteError::ValueTooLarge),
            Err(PutError::OverQuota { .. }) => Err(WriteError::OverQuota),
            Err(PutError::OverTurn { .. }) => Err(WriteError::OverBudget),
            Err(PutError::Store(_)) => Err(WriteError::Other),
        })
    }

    fn remove(&mut self, key: Vec<u8>) -> wasmtime::Result<()> {
        let mark = self.staged.writes.mark();
        self.staged.writes.remove(&key)?;
        self.stage(Effect::Write(mark))
    }

    fn scan(&mut self, range: Range, limit: u32, max_bytes: u32) -> wasmtime::Result<Page> {
        let range_of = ScanRange { start: &range.start, end: range.end.as_deref(), reverse: range.reverse };
        let page = self.staged.writes.scan(range_of, limit as usize, max_bytes.min(MAX_PAGE) as usize)?;
        Ok(Page { entries: page.entries, more: page.more })
    }

    fn used(&mut self) -> wasmtime::Result<u64> {
        Ok(self.staged.writes.used())
    }
}
