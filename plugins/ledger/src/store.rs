//! `Ordered`: the keys that a ledger keeps, in order. A `BTreeMap` in tests, the plugin's own store on a node.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_sdk::Context;

/// Ordered keys and values.
///
/// Reads see earlier writes. Writing cannot fail for the ledger: a store that refuses one remembers that, and its owner
/// gives up the whole turn, so that neither the store nor the ledger's memory ever holds half of a change.
pub trait Ordered {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// Keeps a value.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Forgets a key.
    fn remove(&mut self, key: &[u8]);
    /// Up to `limit` entries from `start`, inclusive, to `end`, exclusive, in order.
    fn range(&self, start: &[u8], end: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
    /// The last entry from `start`, inclusive, to `end`, exclusive.
    fn last(&self, start: &[u8], end: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)>;

    /// Whether there is such a key.
    fn has(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Up to `limit` entries whose key begins with `prefix`, in order.
    fn prefix(&self, prefix: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.range(prefix, after_prefix(prefix).as_deref(), limit)
    }

    /// A record that this software wrote. One that is not readable is as good as none.
    fn record<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T>
    where
        Self: Sized,
    {
        self.get(key).and_then(|bytes| weir_sdk::decode(&bytes).ok())
    }

    /// Keeps a record for [`Ordered::record`].
    fn put_record<T: Serialize + ?Sized>(&mut self, key: &[u8], record: &T)
    where
        Self: Sized,
    {
        if let Ok(bytes) = weir_sdk::encode(record) {
            self.put(key, &bytes);
        }
    }
}

/// A key out of the byte that says its kind and its parts.
pub fn key(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// The smallest key behind all keys with this prefix; none when there is no such key.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The smallest key behind this one.
pub fn after_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// What a store was asked to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Puts and removals.
    pub writes: u64,
    /// Bytes of keys and values put.
    pub bytes: u64,
}

/// A store in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    sums: Sums,
}

impl Memory {
    /// What it was asked to write so far.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn used(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl Ordered for Memory {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.sums.writes += 1;
        self.sums.bytes += (key.len() + value.len()) as u64;
        self.entries.insert(key.to_vec(), value.to_vec());
    }

    fn remove(&mut self, key: &[u8]) {
        self.sums.writes += 1;
        self.entries.remove(key);
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.within(start, end);
        found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn last(&self, start: &[u8], end: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
        self.within(start, end).next_back().map(|(key, value)| (key.clone(), value.clone()))
    }

    fn has(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }
}

impl Memory {
    fn within(&self, start: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Vec<u8>)> {
        // A range whose end lies before its start is empty; `BTreeMap` would panic.
        let end = end.map_or(Bound::Unbounded, |end| Bound::Excluded(if end < start { start } else { end }));
        self.entries.range::<[u8], _>((Bound::Included(start), end))
    }
}

/// The plugin's own store as it stands in this turn.
pub struct PluginStore<'a> {
    ctx: &'a Context,
    refused: Option<weir_sdk::abi::WriteError>,
}

impl<'a> PluginStore<'a> {
    /// For one event.
    pub fn new(ctx: &'a Context) -> Self {
        Self { ctx, refused: None }
    }

    /// To be asked after the event: a refused write gives up the whole turn.
    pub fn finish(self) -> weir_sdk::Result {
        match self.refused {
            None => Ok(()),
            Some(error) => Err(weir_sdk::Error::fatal(format!("the store refused a write: {error:?}"))),
        }
    }
}

impl Ordered for PluginStore<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.ctx.store().get_bytes(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        if let Err(error) = self.ctx.store().put_bytes(key, value) {
            self.refused.get_or_insert(error);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.ctx.store().remove(key);
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.ctx.store().range(start.to_vec(), end.map(<[u8]>::to_vec)).by(limit).take(limit).collect()
    }

    fn last(&self, start: &[u8], end: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
        self.ctx.store().range_reverse(start.to_vec(), end.map(<[u8]>::to_vec)).by(1).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_prefixes_and_the_last() {
        let mut store = Memory::default();
        for key in ["a", "b1", "b2", "c"] {
            store.put(key.as_bytes(), key.as_bytes());
        }
        let keys = |entries: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<_> {
            entries.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
        };
        assert_eq!(keys(store.prefix(b"b", 9)), ["b1", "b2"]);
        assert_eq!(keys(store.range(b"a", Some(b"c"), 2)), ["a", "b1"]);
        assert_eq!(keys(store.range(b"c", Some(b"a"), 2)), [""; 0]);
        assert_eq!(store.last(b"a", Some(b"c")).map(|(key, _)| key), Some(b"b2".to_vec()));
        assert_eq!(store.last(b"d", None), None);
        store.put_record(b"n", &7u64);
        assert_eq!(store.record::<u64>(b"n"), Some(7));
        assert_eq!(store.record::<u64>(b"o"), None);
    }
}
