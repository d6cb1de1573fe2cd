//! The medium of a simulation: memory that survives the node, as a disk would.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::backend::{Backend, NamespaceRow, Snapshot};
use super::error::BackendError;
use super::group::Group;
use super::scan::{ScanRange, Visit};

/// What is on a simulated disk; clones are the same disk.
///
/// It belongs to the machine, not to the node: a simulation keeps it, kills the node and opens it again.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    namespaces: BTreeMap<Arc<str>, (u32, u64)>,
    data: BTreeMap<u32, BTreeMap<Bytes, Bytes>>,
    /// Counts crashes and opens: a store of an earlier run has no power over this one.
    run: u64,
    /// The next commit fails.
    broken: bool,
}

impl MemoryDisk {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node loses power: what it had not written is lost, and nothing it still does counts.
    pub fn crash(&self) {
        self.contents().run += 1;
    }

    /// Makes the next commit fail as a broken disk would.
    pub fn fail_next_commit(&self) {
        self.contents().broken = true;
    }

    /// Takes the disk from whoever has it.
    pub(super) fn attach(&self) -> (MemoryBackend, Vec<NamespaceRow>) {
        let run = {
            let mut contents = self.contents();
            contents.run += 1;
            contents.run
        };
        (MemoryBackend { disk: self.clone(), run }, self.rows())
    }

    fn rows(&self) -> Vec<NamespaceRow> {
        let contents = self.contents();
        let rows = contents.namespaces.iter();
        rows.map(|(name, (id, used))| NamespaceRow { name: name.to_string(), id: *id, used: *used }).collect()
    }
}

/// A run's hold on the disk.
#[derive(Debug, Clone)]
pub(super) struct MemoryBackend {
    disk: MemoryDisk,
    run: u64,
}

impl MemoryBackend {
    /// The disk's contents, while they are this run's.
    fn contents(&self) -> Result<MutexGuard<'_, Contents>, BackendError> {
        let contents = self.disk.contents();
        if contents.run == self.run { Ok(contents) } else { Err(BackendError::new("the simulated node crashed")) }
    }

    /// What is on the disk, at any time.
    pub(super) fn live(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.clone())
    }
}

impl Backend for MemoryBackend {
    fn commit(&mut self, group: &Group) -> Result<(), BackendError> {
        let mut contents = self.contents()?;
        if std::mem::take(&mut contents.broken) {
            return Err(BackendError::new("the simulated disk is broken"));
        }
        for (id, part) in &group.parts {
            if part.exists {
                contents.namespaces.insert(part.name.clone(), (*id, part.used));
            } else {
                contents.namespaces.remove(&part.name);
            }
            let data = contents.data.entry(*id).or_default();
            if part.purge {
                data.clear();
            }
            for (key, value) in &part.writes {
                match value {
                    Some(value) => drop(data.insert(key.clone(), value.clone())),
                    None => drop(data.remove(key)),
                }
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, BackendError> {
        Ok(self.live())
    }

    fn namespaces(&self) -> Result<Vec<NamespaceRow>, BackendError> {
        Ok(self.disk.rows())
    }
}

impl Snapshot for MemoryBackend {
    fn get(&self, namespace: u32, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let contents = self.contents()?;
        let value = contents.data.get(&namespace).and_then(|data| data.get(key));
        Ok(value.map(|value| value.to_vec()))
    }

    fn value_len(&self, namespace: u32, key: &[u8]) -> Result<Option<usize>, BackendError> {
        let contents = self.contents()?;
        Ok(contents.data.get(&namespace).and_then(|data| data.get(key)).map(Bytes::len))
    }

    fn visit(
        &self,
        namespace: u32,
        range: ScanRange<'_>,
        out: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, BackendError> {
        let contents = self.contents()?;
        let Some(data) = contents.data.get(&namespace) else { return Ok(ControlFlow::Continue(())) };
        let mut entries = range.of(data);
        Ok(entries.try_for_each(|(key, value)| out(key, value)))
    }
}
