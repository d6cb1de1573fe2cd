//! Replacing all of a namespace at one moment: what is to come is laid down beside it, then takes its place.
//!
//! A copy of a large namespace in one commit would keep every other plugin's turns from the disk for as long as it
//! takes. So it is laid down in pieces, each a commit of its own among all others, in a namespace that nobody sees;
//! then the two trade their contents in one small commit, and what was there before is taken away in pieces, too. A
//! crash finds the old contents or all of the new, and what it leaves half laid down goes when the store is opened.

use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError};

use super::archive::Entry;
use super::backend::Snapshot;
use super::batch::WriteBatch;
use super::error::StoreError;
use super::namespace::Namespace;
use super::scan::ScanRange;
use super::{Durability, STAGING_PREFIX, Store};

/// Bytes of keys and values of one piece. Other plugins' turns wait for one at most, some ten milliseconds of the disk.
const PIECE_BYTES: usize = 1 << 20;
/// Keys of one piece: small ones cost the disk more than their bytes.
const PIECE_KEYS: usize = 4_096;

/// A namespace that nobody sees until it takes the place of another. Dropped before, it leaves everything as it was.
#[derive(Debug)]
pub struct Staging {
    namespace: Namespace,
    number: u32,
    piece: WriteBatch,
    piece_bytes: usize,
    bytes: u64,
}

impl Staging {
    /// Begins with nothing. What an earlier use left is taken away first.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn begin(store: &Store) -> Result<Self, StoreError> {
        let number = {
            let mut taken = store.0.shared.staging.lock().unwrap_or_else(PoisonError::into_inner);
            let free = (0..).find(|number| !taken.contains(number)).unwrap_or_default();
            taken.insert(free);
            free
        };
        let namespace = store.named(&format!("{STAGING_PREFIX}{number}"));
        let staging = Self { namespace, number, piece: WriteBatch::default(), piece_bytes: 0, bytes: 0 };
        staging.clear().await?;
        Ok(staging)
    }

    /// Lays an entry down. A key that was laid down before is replaced, and counts twice in [`Staging::bytes`].
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let bytes = key.len() + value.len();
        self.piece.put(key, value);
        self.piece_bytes += bytes;
        self.bytes += bytes as u64;
        if self.piece_bytes >= PIECE_BYTES || self.piece.writes.len() >= PIECE_KEYS {
            self.lay_down().await?;
        }
        Ok(())
    }

    /// Bytes of keys and values that were put.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lays down all that is in a namespace now: what was committed before, and whole turns only.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn copy(&mut self, source: &Namespace) -> Result<u64, StoreError> {
        let mut reader = Reader::new(source).await?;
        while let Some(entries) = reader.piece()? {
            for (key, value) in entries {
                self.put(key, value).await?;
            }
        }
        Ok(self.bytes)
    }

    /// Takes the place of a namespace at one moment. When this returns ok, the disk has it.
    ///
    /// Cancel safe in that the namespace has all that it had, or all that was put here.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed. The namespace is as it was then, or, if the failure came with the
    /// commit, one of both after a restart.
    pub async fn replace(mut self, target: &Namespace) -> Result<(), StoreError> {
        self.lay_down().await?;
        target.trade(&self.namespace).await?.durable().await?;
        if let Err(error) = self.clear().await {
            tracing::warn!(
                "what a namespace held before is taken away at the next start, because it failed to {error}"
            );
        }
        Ok(())
    }

    /// Writes the piece, and waits for the disk: so no more than one is ahead of it.
    async fn lay_down(&mut self) -> Result<(), StoreError> {
        self.piece_bytes = 0;
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.namespace.commit(piece, Durability::Strict).await?.durable().await
    }

    /// Takes away what is here, in pieces.
    async fn clear(&self) -> Result<(), StoreError> {
        if !self.namespace.exists() {
            return Ok(());
        }
        loop {
            let (mut piece, mut bytes) = (WriteBatch::default(), 0);
            let _ = self.namespace.visit(ScanRange::default(), &mut |key, value| {
                piece.remove(key.to_vec());
                bytes += key.len() + value.len();
                let full = bytes >= PIECE_BYTES || piece.writes.len() >= PIECE_KEYS;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if piece.is_empty() {
                break;
            }
            self.namespace.commit(piece, Durability::Strict).await?.durable().await?;
        }
        // Its row goes, too.
        self.namespace.purge(Durability::Relaxed).await.map(drop)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let shared = &self.namespace.store().0.shared;
        shared.staging.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Reads all of a namespace in pieces, as it was at one moment between two turns, whatever is committed meanwhile.
pub struct Reader {
    place: Namespace,
    id: u32,
    disk: Arc<dyn Snapshot>,
    next: Bound<Vec<u8>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("place", &self.place).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins with the first key, when all that was committed before is on the disk.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed.
    pub async fn new(source: &Namespace) -> Result<Self, StoreError> {
        let (id, disk) = source.at_rest().await?;
        Ok(Self { place: source.clone(), id, disk, next: Bound::Included(Vec::new()) })
    }

    /// The next entries, about a mebibyte of them; nothing after the last. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn piece(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        let start = match std::mem::replace(&mut self.next, Bound::Unbounded) {
            Bound::Included(start) => start,
            Bound::Excluded(mut last) => {
                last.push(0);
                last
            }
            Bound::Unbounded => return Ok(None),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let range = ScanRange { start: &start, end: None, reverse: false };
        let flow = self.disk.visit(self.id, range, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            bytes += key.len() + value.len();
            let full = bytes >= PIECE_BYTES || entries.len() >= PIECE_KEYS;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let flow = flow.map_err(|error| self.place.store().0.shared.unreadable(error))?;
        if flow.is_break()
            && let Some((last, _)) = entries.last()
        {
            self.next = Bound::Excluded(last.clone());
        }
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    }
}

impl Namespace {
    /// Makes another namespace's contents the same as this one's, at one moment: bytes of keys and values.
    ///
    /// What is copied is all that was committed before the call, and whole turns only. Takes memory for one piece of
    /// about a mebibyte, and other plugins' turns wait for one piece at most. Nobody should commit to `target` meanwhile;
    /// what is committed there before the moment is replaced with all the rest.
    ///
    /// Cancel safe: the target is as it was, or has all of it.
    ///
    /// # Errors
    /// When the store failed, stalled or is closed. The target is as it was then.
    pub async fn copy_to(&self, target: &Self) -> Result<u64, StoreError> {
        if self.is(target) {
            return Ok(self.used());
        }
        let mut staging = Staging::begin(self.store()).await?;
        let bytes = staging.copy(self).await?;
        staging.replace(target).await?;
        Ok(bytes)
    }

    /// Makes this namespace's contents the same as another's: [`Namespace::copy_to`] seen from the other side.
    ///
    /// # Errors
    /// As for [`Namespace::copy_to`].
    pub async fn replace_with(&self, source: &Self) -> Result<u64, StoreError> {
        source.copy_to(self).await
    }
}
