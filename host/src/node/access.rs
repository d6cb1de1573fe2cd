//! Access entries that the operator adds and removes while the node runs.

use serde::Serialize;

use super::book::SharedBook;
use super::{Node, OperateError};
use crate::folder::{AccessBook, AccessList};
use crate::transport::{AccessEntry, AccessLists};

/// The book of added entries beside those of the configuration.
pub(super) struct AccessDesk {
    configured: AccessLists,
    book: SharedBook<AccessBook>,
    /// One change at a time, so that book and host agree.
    turn: tokio::sync::Mutex<()>,
}

/// An entry, as `weir access` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ListedEntry {
    /// Whom it means.
    pub entry: AccessEntry,
    /// It stands in `weir.toml`, and only there can it be removed.
    pub configured: bool,
}

/// Both lists, as `weir access` shows them.
#[derive(Debug, Clone, Serialize)]
pub struct ListedAccess {
    /// Whom to let in; everybody when it is empty.
    pub allow: Vec<ListedEntry>,
    /// Whom to keep out.
    pub block: Vec<ListedEntry>,
}

/// What a change did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ChangedAccess {
    /// In which list.
    pub list: AccessList,
    /// Whom it means.
    pub entry: AccessEntry,
    /// Connections and dials that were closed because of it.
    pub closed: usize,
}

impl AccessDesk {
    pub(super) fn new(configured: AccessLists, book: AccessBook) -> Self {
        Self { configured, book: SharedBook::new(book), turn: tokio::sync::Mutex::new(()) }
    }

    /// Everything that is in force.
    pub(super) fn lists(&self) -> AccessLists {
        let book = self.book.read();
        let mut lists = self.configured.clone();
        lists.allow.extend(&book.lists().allow);
        lists.block.extend(&book.lists().block);
        lists
    }

    fn is_configured(&self, list: AccessList, entry: &AccessEntry) -> bool {
        match list {
            AccessList::Allow => self.configured.allow.contains(entry),
            AccessList::Block => self.configured.block.contains(entry),
        }
    }
}

impl Node {
    /// Both lists as they are in force.
    pub fn access(&self) -> ListedAccess {
        let lists = self.access.lists();
        let listed = |list, entries: &std::collections::BTreeSet<AccessEntry>| {
            let show = |entry: &AccessEntry| {
                let configured = self.access.is_configured(list, entry);
                ListedEntry { entry: *entry, configured }
            };
            entries.iter().map(show).collect()
        };
        ListedAccess { allow: listed(AccessList::Allow, &lists.allow), block: listed(AccessList::Block, &lists.block) }
    }

    /// Adds an entry, now and after a restart, and closes what it denies.
    ///
    /// # Errors
    /// When it cannot be kept; nothing changes then.
    pub async fn add_access(&self, list: AccessList, entry: AccessEntry) -> Result<ChangedAccess, OperateError> {
        let _turn = self.access.turn.lock().await;
        self.access.book.write(move |book| book.add(list, entry)).await?;
        let closed = self.host.set_access(self.access.lists()).await;
        tracing::info!(?list, %entry, closed, "access entry added");
        Ok(ChangedAccess { list, entry, closed })
    }

    /// Removes an entry that was added.
    ///
    /// # Errors
    /// When it is not there, stands in `weir.toml`, or the change cannot be kept.
    pub async fn remove_access(&self, list: AccessList, entry: AccessEntry) -> Result<ChangedAccess, OperateError> {
        let _turn = self.access.turn.lock().await;
        let removed = self.access.book.write(move |book| book.remove(list, &entry)).await?;
        let closed = self.host.set_access(self.access.lists()).await;
        if self.access.is_configured(list, &entry) {
            return Err(OperateError::ConfiguredEntry { list, entry });
        }
        if !removed {
            return Err(OperateError::UnknownEntry { list, entry });
        }
        tracing::info!(?list, %entry, closed, "access entry removed");
        Ok(ChangedAccess { list, entry, closed })
    }
}
