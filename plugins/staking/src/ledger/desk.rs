//! `Desk`: the store and the verifier for one step, counting what the step costs.

use std::cell::Cell;

use weir_ledger::{Key, Ordered, Verify};

/// A turn of a plugin may stage 4,096 effects and 1 MiB and use a second of CPU. Reading costs one unit, a write two and one
/// for every 256 bytes, so a step of 2,000 units stays at a quarter of each.
pub struct Desk<'a, S, V> {
    store: &'a mut S,
    verify: &'a V,
    limit: usize,
    spent: Cell<usize>,
}

impl<'a, S: Ordered, V: Verify> Desk<'a, S, V> {
    /// For one step.
    pub fn new(store: &'a mut S, verify: &'a V, limit: usize) -> Self {
        Self { store, verify, limit, spent: Cell::new(0) }
    }

    /// Whether to go on.
    pub fn has_left(&self) -> bool {
        self.spent.get() < self.limit
    }

    fn spend(&self, units: usize) {
        self.spent.set(self.spent.get().saturating_add(units));
    }
}

impl<S: Ordered, V: Verify> Ordered for Desk<'_, S, V> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.spend(1);
        self.store.get(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.spend(2 + value.len() / 256);
        self.store.put(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.spend(2);
        self.store.remove(key);
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.store.range(start, end, limit);
        self.spend(1 + found.len() / 4);
        found
    }

    fn last(&self, start: &[u8], end: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
        self.spend(1);
        self.store.last(start, end)
    }

    fn has(&self, key: &[u8]) -> bool {
        self.spend(1);
        self.store.has(key)
    }
}

impl<S: Ordered, V: Verify> Verify for Desk<'_, S, V> {
    fn verify(&self, key: Key, message: &[u8], signature: &[u8; 64]) -> bool {
        // Forty microseconds, as much as forty reads.
        self.spend(40);
        self.verify.verify(key, message, signature)
    }
}
