//! One process per data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::{Folder, FolderError};

/// Held as long as the node runs. The system lets go of it when the process ends, however it ends, so a crash
/// leaves nothing to clean up; the file itself stays.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`FolderError::InUse`] when another process has it.
    pub fn take(folder: &Folder) -> Result<Self, FolderError> {
        let path = folder.lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(FolderError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The pid is a courtesy: without it the message is still right.
                file.read_to_string(&mut text).ok();
                return Err(FolderError::InUse { folder: folder.path().to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(FolderError::io("lock", &path)(source)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(FolderError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_hears_who_was_first_and_a_free_lock_is_taken_again() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::at(dir.path());
        let first = FolderLock::take(&folder).expect("free");
        let Err(FolderError::InUse { pid, .. }) = FolderLock::take(&folder) else { panic!("must be refused") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        FolderLock::take(&folder).expect("free again");
    }
}
