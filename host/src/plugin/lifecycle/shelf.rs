//! The bytes of revisions that run or may come back, in a folder, by the digest of their content.
//!
//! What runs is pinned by what it is, so nothing that happens to the file it came from can change it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::plugin::Digest;

/// What the files are called after their digits.
const ENDING: &str = ".wasm";

/// See the module. Without a folder nothing is kept, and a rollback works until the node ends.
#[derive(Debug, Clone, Default)]
pub(in crate::plugin) struct Shelf(Option<PathBuf>);

impl Shelf {
    pub(in crate::plugin) fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    fn path(folder: &Path, digest: &Digest) -> PathBuf {
        folder.join(format!("{}{ENDING}", digest.hex()))
    }

    /// Keeps the bytes. Blocks; after a crash the file is there whole or not at all.
    pub(in crate::plugin) fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let path = Self::path(folder, digest);
        // Of another length it is a file that somebody damaged; its content is checked when it is taken.
        if fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let partial = path.with_extension("partial");
        let written = fs::write(&partial, bytes).and_then(|()| fs::File::open(&partial)?.sync_all());
        let placed = written.and_then(|()| fs::rename(&partial, &path));
        if placed.is_err() {
            // The first error is the one to tell.
            fs::remove_file(&partial).ok();
        }
        placed
    }

    /// The bytes with this digest; an error when they are not there or are not what they were. Blocks.
    pub(in crate::plugin) fn take(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let folder = self.0.as_ref().ok_or_else(|| io::Error::other("this node keeps no files of revisions"))?;
        let path = Self::path(folder, digest);
        let bytes = fs::read(&path)?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())))
    }

    /// Removes all files but these. Blocks.
    pub(in crate::plugin) fn sweep(&self, kept: &BTreeSet<Digest>) {
        let Some(folder) = &self.0 else { return };
        let names: BTreeSet<_> = kept.iter().map(|digest| format!("{}{ENDING}", digest.hex())).collect();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !names.contains(&*entry.file_name().to_string_lossy()) {
                // What cannot be removed now is removed another time.
                fs::remove_file(entry.path()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_by_their_digest_until_they_are_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(Some(folder.path().join("revisions")));
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        shelf.put(&one, b"one").expect("kept");
        shelf.put(&two, b"two").expect("kept");
        assert_eq!(shelf.take(&one).expect("there"), b"one");
        shelf.sweep(&[one].into());
        assert!(shelf.take(&two).is_err());
        let file = folder.path().join("revisions").join(format!("{}.wasm", one.hex()));
        fs::write(&file, b"eno").expect("damaged");
        assert_eq!(shelf.take(&one).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let shelf = Shelf::default();
        shelf.put(&Digest::of(b"one"), b"one").expect("nothing to do");
        assert!(shelf.take(&Digest::of(b"one")).is_err());
    }
}
