//! The groups of peers that were made while the node ran, kept across restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FolderError, write_atomically};
use crate::peer::PeerId;
use crate::protocol::{GroupName, MAX_GROUP_MEMBERS, MAX_GROUPS};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    groups: BTreeMap<GroupName, BTreeSet<PeerId>>,
}

/// The content of `groups.json`. Every change is durable when the call returns.
#[derive(Debug)]
pub struct GroupBook {
    file: PathBuf,
    groups: BTreeMap<GroupName, BTreeSet<PeerId>>,
}

impl GroupBook {
    /// Reads the file; one that does not exist is an empty book.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or has more than a node keeps. Starting without it would send to fewer peers
    /// than the operator named.
    pub fn open(file: PathBuf) -> Result<Self, FolderError> {
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { file, groups: BTreeMap::new() });
            }
            Err(error) => return Err(FolderError::io("read", &file)(error)),
        };
        let damaged = |problem: String| FolderError::Damaged {
            file: file.clone(),
            problem,
            remedy: "repair it, or move it away and make the groups again with `weir groups set`",
        };
        let Document { groups } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let most = groups.values().map(BTreeSet::len).max().unwrap_or(0);
        if groups.len() > MAX_GROUPS || most > MAX_GROUP_MEMBERS {
            let problem = format!(
                "{} groups, the largest of {most} members; a node has at most {MAX_GROUPS} of {MAX_GROUP_MEMBERS}",
                groups.len()
            );
            return Err(damaged(problem));
        }
        Ok(Self { file, groups })
    }

    /// The file it is kept in.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// All groups, by name.
    pub fn groups(&self) -> &BTreeMap<GroupName, BTreeSet<PeerId>> {
        &self.groups
    }

    /// Makes a group of these peers, whatever it was before. Their numbers are the caller's to check.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing changes.
    pub fn set(&mut self, name: GroupName, peers: BTreeSet<PeerId>) -> Result<(), FolderError> {
        let mut groups = self.groups.clone();
        groups.insert(name, peers);
        self.replace(groups)
    }

    /// Forgets a group. Says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing changes.
    pub fn remove(&mut self, name: &GroupName) -> Result<bool, FolderError> {
        let mut groups = self.groups.clone();
        if groups.remove(name).is_none() {
            return Ok(false);
        }
        self.replace(groups).map(|()| true)
    }

    fn replace(&mut self, groups: BTreeMap<GroupName, BTreeSet<PeerId>>) -> Result<(), FolderError> {
        let document = Document { groups };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other);
        text.and_then(|text| write_atomically(&self.file, &text)).map_err(FolderError::io("write", &self.file))?;
        self.groups = document.groups;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GroupName {
        text.parse().expect("a name")
    }

    #[test]
    fn groups_are_there_again_and_what_was_removed_is_not() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("groups.json");
        let mut book = GroupBook::open(file.clone()).expect("empty");
        let peers = BTreeSet::from([PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32])]);
        book.set(name("one"), peers.clone()).expect("set");
        book.set(name("two"), BTreeSet::new()).expect("set");
        assert!(book.remove(&name("two")).expect("remove") && !book.remove(&name("two")).expect("not there"));
        assert_eq!(GroupBook::open(file).expect("read").groups(), &BTreeMap::from([(name("one"), peers)]));
    }

    #[test]
    fn a_book_that_is_damaged_or_too_large_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("groups.json");
        let refused = |text: String| {
            std::fs::write(&file, text).expect("write");
            GroupBook::open(file.clone()).expect_err("refused").to_string()
        };
        assert!(refused(r#"{"groups": {"a b": []}}"#.into()).contains("no name of a group"));
        let many: Vec<_> = (0..=MAX_GROUPS).map(|number| format!("\"g{number}\": []")).collect();
        let text = refused(format!("{{\"groups\": {{{}}}}}", many.join(", ")));
        assert!(text.contains("groups.json is damaged") && text.contains("257 groups"), "{text}");
    }
}
