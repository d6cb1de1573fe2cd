//! The access entries that were added while the node ran, kept across restarts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::{FolderError, write_atomically};
use crate::transport::{AccessEntry, AccessLists, MAX_ACCESS_ENTRIES};

/// Which of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessList {
    /// Whom to let in.
    Allow,
    /// Whom to keep out.
    Block,
}

impl AccessList {
    /// This one of two lists.
    pub fn of(self, lists: &mut AccessLists) -> &mut BTreeSet<AccessEntry> {
        match self {
            Self::Allow => &mut lists.allow,
            Self::Block => &mut lists.block,
        }
    }
}

impl fmt::Display for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Block => "block",
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    allow: BTreeSet<AccessEntry>,
    block: BTreeSet<AccessEntry>,
}

/// The content of `access.json`. Every change is durable when the call returns.
#[derive(Debug)]
pub struct AccessBook {
    file: PathBuf,
    lists: AccessLists,
}

impl AccessBook {
    /// Reads the file; one that does not exist is an empty book.
    ///
    /// # Errors
    /// When it cannot be read or is damaged. Starting without it would let in whom the operator keeps out.
    pub fn open(file: PathBuf) -> Result<Self, FolderError> {
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { file, lists: AccessLists::default() });
            }
            Err(error) => return Err(FolderError::io("read", &file)(error)),
        };
        let Document { allow, block } = serde_json::from_slice(&text).map_err(|error| FolderError::Damaged {
            file: file.clone(),
            problem: error.to_string(),
            remedy: "repair it, or move it away and add the entries again with `weir access`",
        })?;
        Ok(Self { file, lists: AccessLists { allow, block } })
    }

    /// The file it is kept in.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// All entries.
    pub fn lists(&self) -> &AccessLists {
        &self.lists
    }

    /// Adds an entry, or does nothing when it is there.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written; then nothing changes.
    pub fn add(&mut self, list: AccessList, entry: AccessEntry) -> Result<(), FolderError> {
        let mut lists = self.lists.clone();
        list.of(&mut lists).insert(entry);
        if lists.allow.len() + lists.block.len() > MAX_ACCESS_ENTRIES {
            return Err(FolderError::TooManyEntries);
        }
        self.replace(lists)
    }

    /// Removes an entry. Says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing changes.
    pub fn remove(&mut self, list: AccessList, entry: &AccessEntry) -> Result<bool, FolderError> {
        let mut lists = self.lists.clone();
        if !list.of(&mut lists).remove(entry) {
            return Ok(false);
        }
        self.replace(lists).map(|()| true)
    }

    fn replace(&mut self, lists: AccessLists) -> Result<(), FolderError> {
        let document = Document { allow: lists.allow.clone(), block: lists.block.clone() };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other);
        text.and_then(|text| write_atomically(&self.file, &text)).map_err(FolderError::io("write", &self.file))?;
        self.lists = lists;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_again_and_what_was_removed_is_not() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("access.json");
        let mut book = AccessBook::open(file.clone()).expect("empty");
        let [one, two] = ["10.0.0.0/8", "[::1]:5"].map(|text| text.parse().expect("an entry"));
        book.add(AccessList::Block, one).expect("add");
        book.add(AccessList::Allow, two).expect("add");
        book.add(AccessList::Allow, two).expect("twice is once");
        assert!(!book.remove(AccessList::Block, &two).expect("in the other list"));
        assert!(book.remove(AccessList::Block, &one).expect("remove"));
        let again = AccessBook::open(file).expect("read");
        assert_eq!((again.lists().allow.len(), again.lists().block.len()), (1, 0));
    }

    #[test]
    fn a_damaged_book_keeps_the_node_from_starting() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("access.json");
        std::fs::write(&file, r#"{"allow": ["10.0.0.1/8"], "block": []}"#).expect("write");
        let message = AccessBook::open(file).expect_err("damaged").to_string();
        assert!(message.contains("access.json is damaged") && message.contains("write `10.0.0.0/8`"), "{message}");
    }
}
