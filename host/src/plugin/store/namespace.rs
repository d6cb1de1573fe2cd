//! One namespace of the store: reads through the overlay, and commits.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::batch::WriteBatch;
use super::error::StoreError;
use super::group::{Group, Turn};
use super::overlay::{Look, Overlay};
use super::scan::{Page, PageFiller, ScanRange, Visit, merge};
use super::shared::Shared;
use super::ticket::CommitTicket;
use super::{Durability, Store};

/// How many keys are forgotten under one lock, so that the plugin's reads wait for no more.
const FORGET_AT_ONCE: usize = 1024;

/// What all handles of a namespace share.
#[derive(Debug)]
pub(super) struct NamespaceState {
    pub(super) id: u32,
    pub(super) name: Arc<str>,
    overlay: RwLock<Overlay>,
}

impl NamespaceState {
    pub(super) fn new(id: u32, name: &str, used: u64, exists: bool) -> Self {
        Self { id, name: name.into(), overlay: RwLock::new(Overlay::new(used, exists)) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what a group wrote here. Reads must already see the disk with it.
    pub(super) fn landed(&self, group: &Group) {
        let Some(part) = group.parts.get(&self.id) else { return };
        self.write().forget_purge(group.epoch);
        let mut keys = part.writes.keys().peekable();
        while keys.peek().is_some() {
            self.write().forget(keys.by_ref().take(FORGET_AT_ONCE), group.epoch);
        }
    }
}

/// The keys of one plugin, or of a part of the host; cheap to clone.
///
/// Reads are synchronous and short: they see everything committed, on the disk or not. A failed store goes on
/// answering them as far as the disk can be read.
#[derive(Debug, Clone)]
pub struct Namespace {
    store: Store,
    state: Arc<NamespaceState>,
}

impl Namespace {
    pub(super) fn new(store: Store, state: Arc<NamespaceState>) -> Self {
        Self { store, state }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.store.0.shared
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the disk cannot be read or the store is closed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let overlay = self.state.read();
        match overlay.look(key) {
            Look::Known(value) => Ok(value.map(|value| value.to_vec())),
            Look::Below => self.shared().disk().get(self.state.id, key).map_err(|e| self.shared().unreadable(e)),
        }
    }

    /// The length of a key's value.
    pub(super) fn value_len(&self, key: &[u8]) -> Result<Option<usize>, StoreError> {
        match self.state.read().look(key) {
            Look::Known(value) => Ok(value.map(|value| value.len())),
            Look::Below => self.len_on_disk(key),
        }
    }

    fn len_on_disk(&self, key: &[u8]) -> Result<Option<usize>, StoreError> {
        self.shared().disk().value_len(self.state.id, key).map_err(|e| self.shared().unreadable(e))
    }

    /// Reads at most `limit` entries and `max_bytes` of keys and values, but at least one entry if there is one.
    ///
    /// # Errors
    /// When the disk cannot be read or the store is closed.
    pub fn scan(&self, range: ScanRange<'_>, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        let mut filler = PageFiller::new(limit, max_bytes);
        let _ = self.visit(range, &mut |key, value| filler.take(key, value))?;
        Ok(filler.finish())
    }

    /// Shows the entries of a range in its direction, until `out` breaks.
    pub(super) fn visit(&self, range: ScanRange<'_>, out: &mut Visit<'_>) -> Result<ControlFlow<()>, StoreError> {
        if range.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let overlay = self.state.read();
        let below = |out: &mut Visit<'_>| {
            if overlay.hides_disk() {
                return Ok(ControlFlow::Continue(()));
            }
            let disk = self.shared().disk();
            disk.visit(self.state.id, range, out).map_err(|error| self.shared().unreadable(error))
        };
        merge(overlay.range(range), range.reverse, below, out)
    }

    /// Bytes of keys and values.
    pub fn used(&self) -> u64 {
        self.state.read().used()
    }

    /// Commits a turn: from now on reads see all of it. Waits while the overlay has no room.
    ///
    /// The ticket says when it is on the disk; a strict turn must await that before anything leaves the node,
    /// a relaxed one may drop the ticket. A strict batch with nothing in it waits for all that was committed
    /// before it, because what is answered may rest on that.
    ///
    /// Cancel safe: a cancelled call committed nothing.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed, or the disk cannot be read. Nothing is committed then.
    pub async fn commit(&self, batch: WriteBatch, durability: Durability) -> Result<CommitTicket, StoreError> {
        let shared = self.shared();
        if batch.is_empty() {
            return shared.ticket_for_all(durability);
        }
        let mut batch = Some(batch);
        loop {
            shared.ready().await?;
            if let Some(epoch) = self.try_commit(&mut batch, durability)? {
                return Ok(shared.ticket(epoch, durability));
            }
        }
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// As [`Namespace::commit`].
    pub async fn purge(&self, durability: Durability) -> Result<CommitTicket, StoreError> {
        self.commit(WriteBatch::purging(), durability).await
    }

    /// Takes the batch and returns its group, if there is room.
    fn try_commit(&self, batch: &mut Option<WriteBatch>, durability: Durability) -> Result<Option<u64>, StoreError> {
        // The lock is held until the batch is in the overlay: the thread may have written it by then, and must
        // not try to forget it before it is there.
        let mut overlay = self.state.write();
        let Some(writes) = batch.as_ref() else { return Ok(None) };
        let turn = Turn {
            namespace: self.state.id,
            name: &self.state.name,
            batch: writes,
            used: overlay.used_after(writes, |key| self.len_on_disk(key))?,
            exists: overlay.exists_after(writes),
        };
        let used = turn.used;
        let Some(epoch) = self.shared().enqueue(&turn, durability)? else { return Ok(None) };
        if let Some(writes) = batch.take() {
            overlay.apply(writes, used, epoch);
        }
        Ok(Some(epoch))
    }
}
