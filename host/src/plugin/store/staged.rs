//! What a turn wants to write, before it is committed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::batch::WriteBatch;
use super::error::StoreError;
use super::namespace::Namespace;
use super::overlay::entry_bytes;
use super::scan::{Page, PageFiller, ScanRange, Visit, merge};

/// What a staged write counts beside its key and value: a map entry and a line of the journal.
const WRITE_BYTES: usize = 128;

/// How much a plugin may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of a key.
    pub max_key: usize,
    /// Bytes of a value.
    pub max_value: usize,
    /// Bytes of keys and values of the whole namespace.
    pub quota: u64,
    /// Memory for the writes of one turn; every write counts its key, its value and 128 bytes.
    pub max_turn: usize,
}

impl Default for StoreLimits {
    /// Keys of 1 KiB, values of 1 MiB, 64 MiB in all, 4 MiB a turn.
    fn default() -> Self {
        Self { max_key: 1 << 10, max_value: 1 << 20, quota: 64 << 20, max_turn: 4 << 20 }
    }
}

/// Why a write was not staged. The text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The key is too long.
    #[error("put a key of {size} bytes: the limit is {limit}")]
    KeyTooLong {
        /// Bytes of the key.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The value is too large.
    #[error("put a value of {size} bytes: the limit is {limit}")]
    ValueTooLarge {
        /// Bytes of the value.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The namespace would be larger than it may be.
    #[error("put a value: the plugin's store would hold {used} bytes, its quota is {quota}")]
    OverQuota {
        /// Bytes in use with the write.
        used: u64,
        /// The limit.
        quota: u64,
    },
    /// The turn would write more than a turn may.
    #[error("stage a write: the turn would write {size} bytes, the limit is {limit}")]
    OverTurn {
        /// Memory of the turn's writes with this one.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The old value could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A moment in a turn to which its writes can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

/// How to take a write back.
#[derive(Debug)]
struct Undo {
    key: Bytes,
    /// What was staged for the key before, if anything was.
    staged: Option<Option<Bytes>>,
    delta: i64,
    size: usize,
}

/// The writes of one turn, laid over the plugin's namespace.
///
/// Nobody else may commit to the namespace between the first write and the commit: sizes are taken against what
/// was there then. (If somebody does, nothing breaks but the quota's exactness within the turn.)
#[derive(Debug)]
pub struct StagedWrites {
    below: Namespace,
    limits: StoreLimits,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    journal: Vec<Undo>,
    /// How much larger the namespace is with the writes.
    delta: i64,
    /// Memory that the writes and the journal take.
    size: usize,
}

impl StagedWrites {
    /// Begins with no writes.
    pub fn new(below: Namespace, limits: StoreLimits) -> Self {
        Self { below, limits, writes: BTreeMap::new(), journal: Vec::new(), delta: 0, size: 0 }
    }

    /// Nothing staged, over another namespace, with the same limits.
    pub(in crate::plugin) fn elsewhere(&self, below: Namespace) -> Self {
        Self::new(below, self.limits.clone())
    }

    /// The value of a key as the turn sees it.
    ///
    /// # Errors
    /// When the disk cannot be read or the store is closed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.as_ref().map(|value| value.to_vec())),
            None => self.below.get(key),
        }
    }

    /// Reads at most `limit` entries and `max_bytes` of keys and values as the turn sees them, but at least one
    /// entry if there is one.
    ///
    /// # Errors
    /// When the disk cannot be read or the store is closed.
    pub fn scan(&self, range: ScanRange<'_>, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        let mut filler = PageFiller::new(limit, max_bytes);
        if !range.is_empty() {
            let top = range.of(&self.writes).map(|(key, value)| (key, value.as_deref()));
            let below = |out: &mut Visit<'_>| self.below.visit(range, out);
            let _ = merge(top, range.reverse, below, &mut |key, value| filler.take(key, value))?;
        }
        Ok(filler.finish())
    }

    /// Bytes of keys and values as the turn sees them.
    pub fn used(&self) -> u64 {
        self.below.used().saturating_add_signed(self.delta)
    }

    /// Stages a put.
    ///
    /// # Errors
    /// When a limit forbids it, or the disk cannot be read. Nothing is staged then.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), PutError> {
        let (key, value) = (key.into(), value.into());
        if key.len() > self.limits.max_key {
            return Err(PutError::KeyTooLong { size: key.len(), limit: self.limits.max_key });
        }
        if value.len() > self.limits.max_value {
            return Err(PutError::ValueTooLarge { size: value.len(), limit: self.limits.max_value });
        }
        let old = self.value_len(&key)?;
        self.stage(key, Some(value), old)
    }

    /// Stages a remove. A key that is not there takes no room in the turn.
    ///
    /// # Errors
    /// When the turn writes too much, or the disk cannot be read. Nothing is staged then.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), PutError> {
        match self.value_len(key)? {
            None => Ok(()),
            old => self.stage(Bytes::copy_from_slice(key), None, old),
        }
    }

    fn value_len(&self, key: &[u8]) -> Result<Option<usize>, StoreError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.as_ref().map(Bytes::len)),
            None => self.below.value_len(key),
        }
    }

    fn stage(&mut self, key: Bytes, value: Option<Bytes>, old: Option<usize>) -> Result<(), PutError> {
        let new = value.as_ref().map(Bytes::len);
        let delta = entry_bytes(&key, new).cast_signed() - entry_bytes(&key, old).cast_signed();
        let used = self.used().saturating_add_signed(delta);
        // A plugin whose quota was lowered below what it uses may still shrink.
        if delta > 0 && used > self.limits.quota {
            return Err(PutError::OverQuota { used, quota: self.limits.quota });
        }
        let size = WRITE_BYTES + key.len() + new.unwrap_or(0);
        if self.size + size > self.limits.max_turn {
            return Err(PutError::OverTurn { size: self.size + size, limit: self.limits.max_turn });
        }
        let staged = self.writes.insert(key.clone(), value);
        self.journal.push(Undo { key, staged, delta, size });
        self.delta += delta;
        self.size += size;
        Ok(())
    }

    /// The moment now.
    pub fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// Takes back every write after a mark of the same turn. A later mark than now changes nothing.
    pub fn rewind(&mut self, to: Mark) {
        while self.journal.len() > to.0 {
            let Some(undo) = self.journal.pop() else { return };
            match undo.staged {
                Some(before) => self.writes.insert(undo.key, before),
                None => self.writes.remove(&undo.key),
            };
            self.delta -= undo.delta;
            self.size -= undo.size;
        }
    }

    /// The writes that marks name, in order: each key with its value after that write. None where there was nothing to
    /// remove.
    #[cfg(feature = "simulation")]
    pub(in crate::plugin) fn history(&self, marks: &[Mark]) -> Vec<Option<(Bytes, Option<Bytes>)>> {
        let mut later = self.writes.clone();
        let mut journal = Vec::with_capacity(self.journal.len());
        for undo in self.journal.iter().rev() {
            journal.push((undo.key.clone(), later.get(&undo.key).cloned().flatten()));
            later.insert(undo.key.clone(), undo.staged.clone().flatten());
        }
        journal.reverse();
        let ends = marks.iter().skip(1).map(|mark| mark.0).chain([journal.len()]);
        marks.iter().zip(ends).map(|(mark, end)| journal.get(mark.0).filter(|_| end > mark.0).cloned()).collect()
    }

    /// Whether there are no writes.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes the writes to commit them; the next turn begins with none.
    pub fn take(&mut self) -> WriteBatch {
        self.journal.clear();
        (self.delta, self.size) = (0, 0);
        WriteBatch { purge: false, writes: std::mem::take(&mut self.writes) }
    }

    /// Forgets all writes.
    pub fn clear(&mut self) {
        self.rewind(Mark(0));
    }
}
