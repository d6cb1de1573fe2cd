//! Remembers for a day that `rustup target add` failed, so that a machine without a network waits for it only once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Long enough for a day's work, short enough that a machine which got its network back notices.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A file in the target folder: the sysroot it speaks of on the first line, the error after it.
pub(crate) struct RustupMemory {
    file: PathBuf,
}

impl RustupMemory {
    pub(crate) fn new(scratch: &Path) -> Self {
        Self { file: scratch.join("rustup-target-add-failed.txt") }
    }

    /// What was remembered about this toolchain, if it is not older than a day.
    pub(crate) fn failure(&self, sysroot: &Path) -> Option<String> {
        self.failure_at(sysroot, SystemTime::now())
    }

    fn failure_at(&self, sysroot: &Path, now: SystemTime) -> Option<String> {
        let written = fs::metadata(&self.file).ok()?.modified().ok()?;
        // A file from the future, after the clock was set back, is as good as a fresh one.
        if now.duration_since(written).unwrap_or_default() > KEPT {
            return None;
        }
        let text = fs::read_to_string(&self.file).ok()?;
        let (toolchain, error) = text.split_once('\n')?;
        (Path::new(toolchain) == sysroot).then(|| error.trim().to_owned())
    }

    /// Remembers a failure. One that cannot be written is only asked for again.
    pub(crate) fn remember(&self, sysroot: &Path, error: &str) {
        if let Some(folder) = self.file.parent() {
            let _exists_or_write_fails = fs::create_dir_all(folder);
        }
        let _asked_again = fs::write(&self.file, format!("{}\n{error}\n", sysroot.display()));
    }

    /// Where it is remembered, for messages that say how to try again at once.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_its_toolchain_and_for_a_day() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = RustupMemory::new(&folder.path().join("guests"));
        let sysroot = Path::new("/rust/1.95");
        assert_eq!(memory.failure(sysroot), None);
        memory.remember(sysroot, "did not end within 60 s");
        assert_eq!(memory.failure(sysroot).as_deref(), Some("did not end within 60 s"));
        assert_eq!(memory.failure(Path::new("/rust/1.96")), None);
        let tomorrow = SystemTime::now() + KEPT + Duration::from_secs(60);
        assert_eq!(memory.failure_at(sysroot, tomorrow), None);
    }
}
