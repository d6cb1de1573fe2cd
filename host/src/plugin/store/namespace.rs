//! One namespace of the store: reads through the overlay, and commits.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::backend::Snapshot;
use super::batch::WriteBatch;
use super::error::StoreError;
use super::group::{Part, Turn};
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
    pub(super) name: Arc<str>,
    overlay: RwLock<Overlay>,
}

impl NamespaceState {
    pub(super) fn new(id: u32, name: &str, used: u64, exists: bool) -> Self {
        Self { name: name.into(), overlay: RwLock::new(Overlay::new(id, used, exists)) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what a group wrote to the contents `id`. Reads must already see the disk with it. False when these
    /// contents are no longer here: another namespace has them.
    pub(super) fn landed(&self, id: u32, part: &Part, epoch: u64) -> bool {
        let mut keys = part.writes.keys().peekable();
        loop {
            let mut overlay = self.write();
            if overlay.id() != id {
                return false;
            }
            overlay.forget_purge(epoch);
            overlay.forget(keys.by_ref().take(FORGET_AT_ONCE), epoch);
            if keys.peek().is_none() {
                return true;
            }
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
            Look::Below => self.shared().disk().get(overlay.id(), key).map_err(|e| self.shared().unreadable(e)),
        }
    }

    /// The length of a key's value.
    pub(super) fn value_len(&self, key: &[u8]) -> Result<Option<usize>, StoreError> {
        let overlay = self.state.read();
        match overlay.look(key) {
            Look::Known(value) => Ok(value.map(|value| value.len())),
            Look::Below => self.len_on_disk(overlay.id(), key),
        }
    }

    fn len_on_disk(&self, id: u32, key: &[u8]) -> Result<Option<usize>, StoreError> {
        self.shared().disk().value_len(id, key).map_err(|e| self.shared().unreadable(e))
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
            disk.visit(overlay.id(), range, out).map_err(|error| self.shared().unreadable(error))
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

    /// Trades all that is in this namespace for all that is in another, at one moment between two turns: a crash finds
    /// it done or not begun. Handles keep their names. The ticket is that of a strict turn.
    pub(super) async fn trade(&self, other: &Self) -> Result<CommitTicket, StoreError> {
        let shared = self.shared();
        loop {
            shared.ready().await?;
            if let Some(epoch) = self.try_trade(other)? {
                return Ok(shared.ticket(epoch, Durability::Strict));
            }
        }
    }

    fn try_trade(&self, other: &Self) -> Result<Option<u64>, StoreError> {
        let (first, second) = if self.state.name < other.state.name { (self, other) } else { (other, self) };
        // A lock cannot be taken twice, and there is nothing to trade.
        if self.is(other) {
            return Ok(Some(0));
        }
        let (mut one, mut two) = (first.state.write(), second.state.write());
        let nothing = WriteBatch::default();
        let turns = [takes(&first.state.name, &two, &nothing), takes(&second.state.name, &one, &nothing)];
        let Some(epoch) = self.shared().enqueue(&turns, Durability::Strict)? else { return Ok(None) };
        std::mem::swap(&mut *one, &mut *two);
        self.shared().namespaces.traded([(one.id(), &first.state), (two.id(), &second.state)]);
        Ok(Some(epoch))
    }

    /// What is on the disk of this namespace now, with all that was committed before, and its number there. It does not
    /// change any more, whatever is committed.
    pub(super) async fn at_rest(&self) -> Result<(u32, Arc<dyn Snapshot>), StoreError> {
        let shared = self.shared();
        loop {
            let id = self.state.read().id();
            shared.sync().await?;
            let disk = shared.disk();
            let frozen = disk.frozen(id).map_err(|error| shared.unreadable(error))?;
            // Contents that were traded away meanwhile may be emptied by whoever has them now.
            if self.state.read().id() == id {
                return Ok((id, frozen.unwrap_or(disk)));
            }
        }
    }

    /// Writes that are not on the disk.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.state.read().pending()
    }

    /// Whether anything was put since the namespace was made or emptied.
    pub fn exists(&self) -> bool {
        self.state.read().exists()
    }

    /// Whether both are handles of one namespace.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Takes the batch and returns its group, if there is room.
    pub(super) fn try_commit(
        &self,
        batch: &mut Option<WriteBatch>,
        durability: Durability,
    ) -> Result<Option<u64>, StoreError> {
        // The lock is held until the batch is in the overlay: the thread may have written it by then, and must
        // not try to forget it before it is there.
        let mut overlay = self.state.write();
        let Some(writes) = batch.as_ref() else { return Ok(None) };
        let turn = Turn {
            namespace: overlay.id(),
            name: &self.state.name,
            batch: writes,
            used: overlay.used_after(writes, |key| self.len_on_disk(overlay.id(), key))?,
            exists: overlay.exists_after(writes),
        };
        let used = turn.used;
        let Some(epoch) = self.shared().enqueue(&[turn], durability)? else { return Ok(None) };
        if let Some(writes) = batch.take() {
            overlay.apply(writes, used, epoch);
        }
        Ok(Some(epoch))
    }
}

/// The turn by which a namespace takes contents over as they are.
fn takes<'t>(name: &'t Arc<str>, contents: &Overlay, nothing: &'t WriteBatch) -> Turn<'t> {
    Turn { namespace: contents.id(), name, batch: nothing, used: contents.used(), exists: contents.exists() }
}
