//! The writes of one namespace that are committed but not on the disk yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::batch::WriteBatch;
use super::scan::ScanRange;

/// A write and the group it is part of.
#[derive(Debug)]
struct Slot {
    value: Option<Bytes>,
    epoch: u64,
}

/// What the overlay knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<'o> {
    /// Its value, or that it is removed.
    Known(Option<&'o Bytes>),
    /// Nothing: what lies below counts.
    Below,
}

/// Pending writes of one namespace, laid over what is on the disk.
///
/// `used` and `exists` tell how the namespace is with them.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The number of the namespace's keys on the disk. It changes when two namespaces trade their contents.
    id: u32,
    slots: BTreeMap<Bytes, Slot>,
    /// The latest group that purged the namespace, while it is not on the disk. It hides all that is below.
    purged: Option<u64>,
    used: u64,
    exists: bool,
}

impl Overlay {
    pub(super) fn new(id: u32, used: u64, exists: bool) -> Self {
        Self { id, slots: BTreeMap::new(), purged: None, used, exists }
    }

    /// The number of what lies below.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Bytes of keys and values.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether anything was put since the namespace was made or purged.
    pub(super) fn exists(&self) -> bool {
        self.exists
    }

    pub(super) fn look(&self, key: &[u8]) -> Look<'_> {
        match self.slots.get(key) {
            Some(slot) => Look::Known(slot.value.as_ref()),
            None if self.purged.is_some() => Look::Known(None),
            None => Look::Below,
        }
    }

    /// Whether nothing on the disk counts.
    pub(super) fn hides_disk(&self) -> bool {
        self.purged.is_some()
    }

    /// The pending writes in a range, in its direction.
    pub(super) fn range(&self, range: ScanRange<'_>) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        range.of(&self.slots).map(|(key, slot)| (key, slot.value.as_deref()))
    }

    /// Bytes of keys and values after `batch`. `on_disk` tells the length of a value below.
    pub(super) fn used_after<E>(
        &self,
        batch: &WriteBatch,
        mut on_disk: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<u64, E> {
        let mut used = if batch.purge { 0 } else { self.used };
        for (key, value) in &batch.writes {
            let old = match self.look(key) {
                _ if batch.purge => None,
                Look::Known(value) => value.map(Bytes::len),
                Look::Below => on_disk(key)?,
            };
            used = used.saturating_sub(entry_bytes(key, old)) + entry_bytes(key, value.as_ref().map(Bytes::len));
        }
        Ok(used)
    }

    /// Whether the namespace exists after `batch`.
    pub(super) fn exists_after(&self, batch: &WriteBatch) -> bool {
        (self.exists && !batch.purge) || batch.writes.values().any(Option::is_some)
    }

    /// Lays a batch over, as part of the group `epoch`.
    pub(super) fn apply(&mut self, batch: WriteBatch, used: u64, epoch: u64) {
        self.exists = self.exists_after(&batch);
        self.used = used;
        if batch.purge {
            self.slots.clear();
            self.purged = Some(epoch);
        }
        self.slots.extend(batch.writes.into_iter().map(|(key, value)| (key, Slot { value, epoch })));
    }

    /// The purge of `epoch` or before is on the disk, and reads see that disk.
    ///
    /// Comes before `forget`: while the purge hides the disk, the slots are all there is.
    pub(super) fn forget_purge(&mut self, epoch: u64) {
        self.purged = self.purged.filter(|purged| *purged > epoch);
    }

    /// Writes that are not on the disk.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.slots.len()
    }

    /// Forgets those of `keys` whose last write is on the disk, which has all groups up to `epoch`.
    pub(super) fn forget<'k>(&mut self, keys: impl Iterator<Item = &'k Bytes>, epoch: u64) {
        for key in keys {
            if self.slots.get(key).is_some_and(|slot| slot.epoch <= epoch) {
                self.slots.remove(key);
            }
        }
    }
}

/// What a key with a value of this length counts; nothing without a value.
pub(super) fn entry_bytes(key: &[u8], value: Option<usize>) -> u64 {
    value.map_or(0, |value| (key.len() + value) as u64)
}
