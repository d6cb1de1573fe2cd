//! The writes of one turn.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Puts and removes that are committed together, in one namespace.
///
/// The last write of a key counts. A purge comes before all of them, whenever it was asked for.
///
/// ```
/// use weir_host::plugin::store::WriteBatch;
///
/// let mut batch = WriteBatch::default();
/// batch.put(b"greeting".to_vec(), b"hello".to_vec());
/// batch.remove(b"old".to_vec());
/// assert!(!batch.is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    pub(super) purge: bool,
    pub(super) writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl WriteBatch {
    /// A batch that first empties the namespace.
    pub fn purging() -> Self {
        Self { purge: true, writes: BTreeMap::new() }
    }

    /// Sets a key. The bytes are kept as they are, so a slice of a larger buffer keeps that buffer alive.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, key: impl Into<Bytes>) {
        self.writes.insert(key.into(), None);
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        !self.purge && self.writes.is_empty()
    }
}
