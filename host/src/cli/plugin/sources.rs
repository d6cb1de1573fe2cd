//! The sources of a plugin under development: what of them changed between two looks.
//!
//! Looked at again and again instead of being told by the system: a folder of sources is small, a look costs less than
//! one line that is compiled, and how editors save (in place, or by a rename over the old file) makes no difference.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::node::{Stamp, stamp};

/// Files and folders that are looked at, and how deep: a folder that was named by mistake must not be walked for ever.
const MOST: usize = 20_000;
const DEEPEST: usize = 16;

/// What a folder held at one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sources(BTreeMap<PathBuf, Stamp>);

impl Sources {
    /// Looks at everything below a folder but what is hidden, what cargo makes there, and `target`.
    pub(super) fn look(folder: &Path, target: &Path) -> Self {
        let mut sources = Self::default();
        sources.walk(folder, target, 0);
        sources
    }

    fn walk(&mut self, folder: &Path, target: &Path, depth: usize) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if self.0.len() >= MOST {
                return;
            }
            let (path, name) = (entry.path(), entry.file_name());
            // A link to a folder is not followed, so no circle is walked; what a link to a file names is looked at.
            let Ok(kind) = entry.file_type() else { continue };
            if is_passed_over(&name) || path == target {
                continue;
            }
            if kind.is_dir() {
                if depth < DEEPEST {
                    self.walk(&path, target, depth + 1);
                }
            } else if let Ok(metadata) = fs::metadata(&path) {
                self.0.insert(path, stamp(&metadata));
            }
        }
    }

    /// One file that differs, if any does: what a person is told.
    pub(super) fn first_change<'a>(&'a self, before: &'a Self) -> Option<&'a Path> {
        let changed = self.0.iter().find(|(path, now)| before.0.get(*path) != Some(now));
        let removed = || before.0.keys().find(|path| !self.0.contains_key(*path));
        changed.map(|(path, _)| path).or_else(removed).map(PathBuf::as_path)
    }
}

/// Hidden files, editors' copies, and what every build writes.
fn is_passed_over(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    text.starts_with('.') || text.ends_with('~') || text.starts_with('#') || name == "target" || name == "Cargo.lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_seen_and_what_a_build_writes_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("src/lib.rs"), folder.path().join("elsewhere"));
        for made in ["src", "target", "elsewhere"] {
            fs::create_dir(folder.path().join(made)).expect("a folder");
        }
        fs::write(&source, "one").expect("written");
        let first = Sources::look(folder.path(), &target);
        for passed in ["target/x.rs", "elsewhere/x.rs", "Cargo.lock", ".git", "src/.lib.rs.swp", "src/lib.rs~"] {
            fs::write(folder.path().join(passed), "made").expect("written");
        }
        assert_eq!(Sources::look(folder.path(), &target).first_change(&first), None);
        fs::write(&source, "three").expect("written");
        let second = Sources::look(folder.path(), &target);
        assert_eq!(second.first_change(&first), Some(source.as_path()));
        // As most editors save: a new file takes the place of the old one.
        fs::write(folder.path().join("src/new"), "four!").expect("written");
        fs::rename(folder.path().join("src/new"), &source).expect("renamed");
        let third = Sources::look(folder.path(), &target);
        assert!(third.first_change(&second).is_some());
        fs::remove_file(&source).expect("removed");
        assert_eq!(Sources::look(folder.path(), &target).first_change(&third), Some(source.as_path()));
    }
}
