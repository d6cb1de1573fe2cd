//! What the host must not forget of plugins, as typed records in the store: of one kind, by plugin and number.
//!
//! Kept as JSON, so that a later version of the node can add a field. A record that cannot be read is an error that
//! names it, never a reason to forget it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::{CommitTicket, Durability, Namespace, ScanRange, Store, StoreError, WriteBatch};

/// Entries and bytes that one read of many takes at a time.
const PAGE: (usize, usize) = (256, 1 << 20);

/// Why a record cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there is no record of this kind.
    #[error("the record {kind} {number} of plugin {plugin} in the store cannot be read: {reason}")]
    Unreadable {
        /// Of which kind.
        kind: String,
        /// Of which plugin.
        plugin: String,
        /// Which of them.
        number: u64,
        /// Why.
        reason: String,
    },
}

/// The records of one kind; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Records {
    kind: &'static str,
    namespace: Namespace,
}

/// The key of a record. No plugin's name has a zero byte, so no plugin's records lie among another's.
fn key(plugin: &str, number: u64) -> Vec<u8> {
    [plugin.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

/// The plugin and the number in a key.
fn parts(key: &[u8]) -> Option<(&str, u64)> {
    let (head, number) = key.split_last_chunk::<8>()?;
    let plugin = head.strip_suffix(&[0])?;
    Some((std::str::from_utf8(plugin).ok()?, u64::from_be_bytes(*number)))
}

impl Records {
    pub(super) fn new(store: &Store, kind: &'static str) -> Self {
        Self { kind, namespace: store.host_namespace(kind) }
    }

    fn read<T: DeserializeOwned>(&self, plugin: &str, number: u64, bytes: &[u8]) -> Result<T, RecordError> {
        serde_json::from_slice(bytes).map_err(|error| RecordError::Unreadable {
            kind: self.kind.to_owned(),
            plugin: plugin.to_owned(),
            number,
            reason: error.to_string(),
        })
    }

    /// One record, if it is there.
    pub(super) fn get<T: DeserializeOwned>(&self, plugin: &str, number: u64) -> Result<Option<T>, RecordError> {
        let bytes = self.namespace.get(&key(plugin, number))?;
        bytes.map(|bytes| self.read(plugin, number, &bytes)).transpose()
    }

    /// All records of a plugin, by number.
    pub(super) fn of<T: DeserializeOwned>(&self, plugin: &str) -> Result<Vec<(u64, T)>, RecordError> {
        let (start, end) = (key(plugin, 0), [plugin.as_bytes(), &[1]].concat());
        let all = self.scan(&start, Some(&end))?;
        Ok(all.into_iter().map(|(_, number, record)| (number, record)).collect())
    }

    /// All records, by plugin and number.
    pub(super) fn all<T: DeserializeOwned>(&self) -> Result<Vec<(String, u64, T)>, RecordError> {
        self.scan(&[], None)
    }

    fn scan<T: DeserializeOwned>(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Vec<(String, u64, T)>, RecordError> {
        let (mut start, mut found) = (start.to_vec(), Vec::new());
        loop {
            let page = self.namespace.scan(ScanRange { start: &start, end, reverse: false }, PAGE.0, PAGE.1)?;
            for (key, value) in &page.entries {
                if let Some((plugin, number)) = parts(key) {
                    found.push((plugin.to_owned(), number, self.read(plugin, number, value)?));
                }
                start = [key.as_slice(), &[0]].concat();
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    /// Sets a record. It is on the disk when the ticket says so, and never before what was committed earlier.
    pub(super) async fn put<T: Serialize>(
        &self,
        plugin: &str,
        number: u64,
        record: &T,
    ) -> Result<CommitTicket, RecordError> {
        let bytes = serde_json::to_vec(record).map_err(|error| RecordError::Unreadable {
            kind: self.kind.to_owned(),
            plugin: plugin.to_owned(),
            number,
            reason: error.to_string(),
        })?;
        let mut batch = WriteBatch::default();
        batch.put(key(plugin, number), bytes);
        Ok(self.namespace.commit(batch, Durability::Strict).await?)
    }

    /// Removes a record, if it is there.
    pub(super) async fn remove(&self, plugin: &str, number: u64) -> Result<CommitTicket, RecordError> {
        let mut batch = WriteBatch::default();
        batch.remove(key(plugin, number));
        Ok(self.namespace.commit(batch, Durability::Strict).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::store::MemoryDisk;

    #[tokio::test]
    async fn records_are_found_by_plugin_and_number() {
        let store = Store::in_memory(&MemoryDisk::default());
        let records = Records::new(&store, "test");
        for (plugin, number) in [("a", 2), ("a", 1), ("ab", 7), ("b", 0)] {
            records.put(plugin, number, &format!("{plugin}{number}")).await.expect("written");
        }
        assert_eq!(records.of::<String>("a").expect("read"), [(1, "a1".to_owned()), (2, "a2".to_owned())]);
        assert_eq!(records.all::<String>().expect("read").len(), 4);
        records.remove("a", 1).await.expect("removed");
        assert_eq!(records.get::<String>("a", 1).expect("read"), None);
        let unreadable = records.of::<u64>("ab").expect_err("no number").to_string();
        assert!(unreadable.contains("test 7 of plugin ab"), "{unreadable}");
    }

    #[tokio::test]
    async fn many_records_are_read_in_pages() {
        let store = Store::in_memory(&MemoryDisk::default());
        let records = Records::new(&store, "test");
        for number in 0..600 {
            records.put("a", number, &number).await.expect("written");
        }
        let read = records.of::<u64>("a").expect("read");
        assert!(read.iter().map(|(number, _)| *number).eq(0..600));
    }
}
