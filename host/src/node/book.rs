//! A book of the data folder that is changed while the node runs.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::folder::{AccessBook, FolderError, GroupBook, PeerBook};

/// What is kept in a file of its own.
pub(super) trait Book: Send + 'static {
    /// The file.
    fn path(&self) -> &Path;
}

impl Book for AccessBook {
    fn path(&self) -> &Path {
        self.path()
    }
}

impl Book for GroupBook {
    fn path(&self) -> &Path {
        self.path()
    }
}

impl Book for PeerBook {
    fn path(&self) -> &Path {
        self.path()
    }
}

/// A book that is read at once and written where waiting for the disk holds up nobody.
pub(super) struct SharedBook<B>(Arc<Mutex<B>>);

impl<B: Book> SharedBook<B> {
    pub(super) fn new(book: B) -> Self {
        Self(Arc::new(Mutex::new(book)))
    }

    pub(super) fn read(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the book on a thread that may wait for the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut B) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, FolderError> {
        let book = Self(Arc::clone(&self.0));
        let path = book.read().path().to_owned();
        let written = tokio::task::spawn_blocking(move || change(&mut book.read()));
        written.await.unwrap_or_else(|error| Err(FolderError::io("write", &path)(std::io::Error::other(error))))
    }
}
