//! A key's book on the disk: `KEYFILE.book`, replaced as a whole and durable before anything is sent; locked with the key.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::book::Book;
use crate::key_file::sync_folder;

/// How long another wallet with this key is waited for: the longest it waits for a node itself.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);

/// Why the book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookFileError {
    /// It does not hold a book.
    #[error(
        "the book {} is damaged ({problem}): restore it from a backup. Without it this key may sign a number twice, and that \
         freezes an account for ever; if the node has everything that was signed, and only then, move the book away", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another wallet holds it.
    #[error("another weir-wallet has been at work with {} for {} s: wait for it, or end it", .0.display(), PATIENCE.as_secs())]
    Busy(PathBuf),
    /// The system refused.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BookFileError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "book-damaged",
            Self::Busy(_) => "busy",
            Self::Io { .. } => "book-unusable",
        }
    }
}

/// An open book. While it is open no other wallet uses the key.
#[derive(Debug)]
pub struct BookFile {
    path: PathBuf,
    book: Book,
    _lock: File,
}

impl BookFile {
    /// Opens the book of a key file, which must exist; one that is not there is empty. Waits for another wallet.
    pub fn open(key_file: &Path) -> Result<Self, BookFileError> {
        let lock = lock(key_file)?;
        let mut name = OsString::from(key_file);
        name.push(".book");
        let path = PathBuf::from(name);
        let book = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| BookFileError::Damaged { path: path.clone(), problem: error.to_string() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::default(),
            Err(source) => return Err(BookFileError::Io { action: "read the book", path, source }),
        };
        Ok(Self { path, book, _lock: lock })
    }

    /// What it says.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Changes it. When this returns, the change is on the disk; on an error nothing has changed.
    pub fn change(&mut self, change: impl FnOnce(&mut Book)) -> Result<(), BookFileError> {
        let mut book = self.book.clone();
        change(&mut book);
        let written = serde_json::to_vec_pretty(&book).map_err(io::Error::other);
        written.and_then(|text| replace(&self.path, &text)).map_err(|source| BookFileError::Io {
            action: "write the book",
            path: self.path.clone(),
            source,
        })?;
        self.book = book;
        Ok(())
    }
}

fn lock(key_file: &Path) -> Result<File, BookFileError> {
    let failed = |source| BookFileError::Io { action: "lock the key file", path: key_file.to_owned(), source };
    let file = File::open(key_file).map_err(failed)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                return Err(BookFileError::Busy(key_file.to_owned()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

/// After a crash the file has its old or its new content, never half of one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Half a file is of no use to anyone; the first error is the one that matters.
        fs::remove_file(&new).ok();
    }
    written?;
    sync_folder(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use weir_ledger::Id;

    use super::*;
    use crate::book::{Entry, LogName};

    #[test]
    fn a_change_is_there_after_the_next_opening() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("a.key");
        fs::write(&key, "").expect("a file");
        let (network, name) = (Id([7; 32]), LogName::Operations);
        let entry = Entry {
            reign: 0,
            seq: 3,
            id: Id([1; 32]),
            what: "stake 1".to_owned(),
            bytes: "00".to_owned(),
            pages: vec!["0300".to_owned()],
            settled: false,
        };
        let mut file = BookFile::open(&key).expect("an empty book");
        file.change(|book| book.log_mut(network, name).add(entry.clone())).expect("written");
        drop(file);
        let file = BookFile::open(&key).expect("the same book");
        assert_eq!(file.book().log(network, name).open(), Some(&entry));
        let mode = fs::metadata(folder.path().join("a.key.book")).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_book_from_before_there_were_pages_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("a.key");
        fs::write(&key, "").expect("a file");
        let (network, id) = (Id([7; 32]), Id([1; 32]));
        let entry =
            format!(r#"{{"reign": 0, "seq": 3, "id": "{id}", "what": "epoch", "bytes": "00", "settled": false}}"#);
        let book = format!(r#"{{"{network}": {{"decrees": {{"entries": [{entry}]}}}}}}"#);
        fs::write(folder.path().join("a.key.book"), book).expect("a file");
        let file = BookFile::open(&key).expect("a book");
        let log = file.book().log(network, LogName::Decrees);
        assert_eq!(log.open().map(|open| (open.seq, open.pages.len())), Some((3, 0)));
    }

    #[test]
    fn a_damaged_book_is_never_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("a.key");
        fs::write(&key, "").expect("a file");
        for broken in ["", "{", "[]", r#"{"00": {}}"#] {
            fs::write(folder.path().join("a.key.book"), broken).expect("a file");
            let error = BookFile::open(&key).expect_err("damaged");
            assert_eq!(error.code(), "book-damaged", "{error}");
        }
    }
}
