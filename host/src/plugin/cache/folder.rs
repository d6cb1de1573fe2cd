//! The folder of the cache: read, written atomically, for the node's user alone, and never larger than it may be.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::entry::Name;

/// How a finished entry ends, and one that is being written.
const ENTRY: &str = "code";
const PARTIAL: &str = "partial";
/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    /// Held while one is written: two that make room at once would remove too much.
    writing: Mutex<()>,
}

/// An entry that may have to go.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Folder {
    pub(super) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
        let folder = fs::symlink_metadata(path)?;
        // SAFETY: asks for a number; no memory is involved.
        let own = unsafe { libc::geteuid() };
        if !folder.is_dir() || folder.uid() != own {
            let why = format!("{} is not a folder of the user that the node runs as", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if folder.mode() & 0o777 != FOLDER_MODE {
            fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?;
        }
        let this = Self { path: path.to_owned(), max_bytes, writing: Mutex::default() };
        // What a crash left half-written.
        for partial in this.files(PARTIAL)? {
            fs::remove_file(partial.path)?;
        }
        this.make_room(0)?;
        Ok(this)
    }

    pub(super) fn path(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{name}.{ENTRY}"))
    }

    /// The whole file; None when there is none.
    pub(super) fn read(&self, name: &Name) -> io::Result<Option<Vec<u8>>> {
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path(name));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > self.max_bytes {
            return Err(io::Error::other("it is no file that the node wrote"));
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // Not more than was looked at, should it grow meanwhile.
        file.take(metadata.len()).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Notes that an entry is in use. When that fails, it only goes earlier than it should.
    pub(super) fn touch(&self, name: &Name) {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(self.path(name));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    pub(super) fn remove(&self, name: &Name) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Something that is no file stands in the way.
            Err(_) if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) => fs::remove_dir_all(&path),
            outcome => outcome,
        }
    }

    /// Writes an entry in parts, beside its place and then into it. What is larger than the whole cache is not kept.
    ///
    /// It is not made durable: after a crash of the machine it may be damaged, and then it is thrown away.
    pub(super) fn write(&self, name: &Name, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        if bytes > self.max_bytes {
            return Ok(());
        }
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(bytes)?;
        let partial = self.path.join(format!("{name}.{PARTIAL}"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&partial)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            fs::rename(&partial, self.path(name))
        };
        let written = write();
        if written.is_err() {
            // The half-written file is of no use to anyone; the error that matters is the first one.
            fs::remove_file(&partial).ok();
        }
        written
    }

    /// Removes what was not used for longest until `more` bytes fit.
    fn make_room(&self, more: u64) -> io::Result<()> {
        let mut kept = self.files(ENTRY)?;
        kept.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut sum = kept.iter().map(|entry| entry.bytes).sum::<u64>().saturating_add(more);
        while sum > self.max_bytes
            && let Some(oldest) = kept.pop()
        {
            fs::remove_file(oldest.path)?;
            sum -= oldest.bytes;
        }
        Ok(())
    }

    /// The files with this ending; whatever else lies here is not ours.
    fn files(&self, ending: &str) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for found in fs::read_dir(&self.path)? {
            let path = found?.path();
            let ours = path.extension().is_some_and(|extension| extension == ending);
            // Another thread may have removed it meanwhile.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if ours && !metadata.is_dir() {
                kept.push(Kept { path, bytes: metadata.len(), used: metadata.modified()? });
            }
        }
        Ok(kept)
    }
}

/// The mode of a folder, for tests.
#[cfg(test)]
pub(super) fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o777)
}
