//! The medium of a simulation: memory that survives the node, as a disk would.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::backend::{Backend, NamespaceRow, Snapshot};
use super::error::BackendError;
use super::group::Group;
use super::scan::{ScanRange, Visit};

/// What is on a simulated disk; clones are the same disk.
///
/// It belongs to the machine, not to the node: a simulation keeps it, kills the node and opens it again.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Medium>);

#[derive(Debug, Default)]
struct Medium {
    contents: Mutex<Contents>,
    /// A commit that is held waits here.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Contents {
    namespaces: BTreeMap<Arc<str>, (u32, u64)>,
    data: BTreeMap<u32, BTreeMap<Bytes, Bytes>>,
    /// Counts crashes and opens: a store of an earlier run has no power over this one.
    run: u64,
    /// The next commit fails.
    broken: bool,
    /// Commits wait.
    held: bool,
    /// Commits until the power fails, if it is to.
    left: Option<u64>,
}

impl MemoryDisk {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node loses power: what it had not written is lost, and nothing it still does counts.
    pub fn crash(&self) {
        self.contents().run += 1;
        self.0.changed.notify_all();
    }

    /// The node loses power when it begins another commit after so many.
    pub fn crash_after(&self, commits: u64) {
        self.contents().left = Some(commits);
    }

    /// Makes the next commit fail as a broken disk would.
    pub fn fail_next_commit(&self) {
        self.contents().broken = true;
    }

    /// Lets commits wait, or go on: a slow disk. Only for a store with a thread, which is the one that waits.
    pub fn hold(&self, held: bool) {
        self.contents().held = held;
        self.0.changed.notify_all();
    }

    /// Takes the disk from whoever has it.
    pub(super) fn attach(&self) -> (MemoryBackend, Vec<NamespaceRow>) {
        let run = {
            let mut contents = self.contents();
            (contents.held, contents.left) = (false, None);
            contents.run += 1;
            contents.run
        };
        self.0.changed.notify_all();
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
        self.own(self.disk.contents())
    }

    fn own<'c>(&self, contents: MutexGuard<'c, Contents>) -> Result<MutexGuard<'c, Contents>, BackendError> {
        if contents.run == self.run { Ok(contents) } else { Err(BackendError::new("the simulated node crashed")) }
    }

    /// The contents, when the disk has time and power for a commit.
    fn begin(&self) -> Result<MutexGuard<'_, Contents>, BackendError> {
        let mut contents = self.disk.contents();
        while contents.held && contents.run == self.run {
            contents = self.disk.0.changed.wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
        match contents.left.as_mut() {
            Some(0) => {
                contents.left = None;
                contents.run += 1;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.own(contents)
    }

    /// What is on the disk, at any time.
    pub(super) fn live(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.clone())
    }
}

impl Backend for MemoryBackend {
    fn commit(&mut self, group: &Group) -> Result<(), BackendError> {
        let mut contents = self.begin()?;
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

    fn frozen(&self, namespace: u32) -> Result<Option<Arc<dyn Snapshot>>, BackendError> {
        let data = self.contents()?.data.get(&namespace).cloned().unwrap_or_default();
        Ok(Some(Arc::new(Frozen { namespace, data })))
    }
}

/// One namespace as it was.
struct Frozen {
    namespace: u32,
    data: BTreeMap<Bytes, Bytes>,
}

impl Frozen {
    fn value(&self, namespace: u32, key: &[u8]) -> Option<&Bytes> {
        self.data.get(key).filter(|_| namespace == self.namespace)
    }
}

impl Snapshot for Frozen {
    fn get(&self, namespace: u32, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.value(namespace, key).map(|value| value.to_vec()))
    }

    fn value_len(&self, namespace: u32, key: &[u8]) -> Result<Option<usize>, BackendError> {
        Ok(self.value(namespace, key).map(Bytes::len))
    }

    fn visit(
        &self,
        namespace: u32,
        range: ScanRange<'_>,
        out: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, BackendError> {
        if namespace != self.namespace {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(range.of(&self.data).try_for_each(|(key, value)| out(key, value)))
    }
}
