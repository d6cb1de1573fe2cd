//! A secret key in a file: made once, never overwritten, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use weir_ledger::keys::KeyPair;
use weir_ledger::to_hex;
use zeroize::Zeroizing;

/// First word of a key file: says what the file is and in which form the key follows. Not that of a node's key: an account
/// and a node are two things, and a file that was mixed up should be noticed.
const LABEL: &str = "weir-account-v1";
const FILE_LENGTH: usize = LABEL.len() + 1 + 64 + 1;

/// Why a key file could not be made or read. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key file {}: make one with `weir-wallet --key {} new`, or name another one with --key", .0.display(), .0.display())]
    Missing(PathBuf),
    /// A new key would overwrite something.
    #[error("{} exists already and is not overwritten, because it may be the only copy of a key: name another file with --key", .0.display())]
    Exists(PathBuf),
    /// The file holds something else.
    #[error("{} is no key file ({reason}): expected is one line, `{LABEL}`, a space and 64 hexadecimal digits; restore it from a backup", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong; never quotes its content.
        reason: &'static str,
    },
    /// Others than the owner may use the file.
    #[error("the key file {} may be used by others (mode {mode:04o}, at most 0600 is allowed): run `chmod 600 {}`", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The system refused.
    #[error("failed to {action} the key file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeyFileError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "key-missing",
            Self::Exists(_) => "key-exists",
            Self::Broken { .. } => "key-broken",
            Self::Permissions { .. } => "key-permissions",
            Self::NoRandomness(_) => "no-randomness",
            Self::Io { .. } => "key-unusable",
        }
    }
}

/// Draws a key and writes it, for its owner only from the file's first moment on, and durable when this returns.
pub fn create(path: &Path) -> Result<KeyPair, KeyFileError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut()).map_err(KeyFileError::NoRandomness)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            KeyFileError::Exists(path.to_owned())
        } else {
            failed("create", path, source)
        }
    })?;
    let digits = Zeroizing::new(to_hex(&*secret));
    let text = Zeroizing::new([LABEL, " ", digits.as_str(), "\n"].concat());
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_folder(path));
    if let Err(source) = written {
        // It is ours and worth nothing; the first error is the one to tell.
        fs::remove_file(path).ok();
        return Err(failed("write", path, source));
    }
    Ok(KeyPair::from_secret(&secret))
}

/// Reads the key that [`create`] wrote.
pub fn load(path: &Path) -> Result<KeyPair, KeyFileError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => failed("open", path, source),
    })?;
    // The open file is asked, not the path, which could name another one a moment later.
    let mode = file.metadata().map_err(|source| failed("look at", path, source))?.permissions().mode() & 0o7777;
    if mode & !0o600 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
    }
    // A byte more than there should be, so that a longer file is noticed and none is read whole.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH + 2));
    file.take(FILE_LENGTH as u64 + 2).read_to_end(&mut text).map_err(|source| failed("read", path, source))?;
    parse(&text).map_err(|reason| KeyFileError::Broken { path: path.to_owned(), reason })
}

fn parse(text: &[u8]) -> Result<KeyPair, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let digits = text.strip_prefix(LABEL.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let digits = digits.ok_or("it does not begin with that word")?.trim_ascii_end();
    if digits.len() != 64 {
        return Err("the number of digits is not 64");
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or("there is something else than digits");
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(KeyPair::from_secret(&secret))
}

/// Makes the name of a new file survive a loss of power, too.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        let made = create(&path).expect("a new file");
        assert_eq!(load(&path).expect("the same file").key(), made.key());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o600);
        let before = fs::read(&path).expect("there");
        assert!(matches!(create(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(fs::read(&path).expect("there"), before);
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        let text = |path: &Path| load(path).err().expect("must refuse").to_string();
        assert!(text(&path).contains("new"));
        create(&path).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(text(&path).contains(&format!("chmod 600 {}", path.display())));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
        load(&path).expect("narrower than needed is fine");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        let digits = "5e".repeat(32);
        for broken in ["", "\n", "5e5e5e", "weir-key-v1 5e5e5e", &format!("{LABEL} {digits}0\n"), &LABEL.repeat(20)] {
            fs::write(&path, broken).expect("a file");
            let error = load(&path).err().expect("must refuse");
            assert!(matches!(error, KeyFileError::Broken { .. }) && !error.to_string().contains("5e5e"), "{error}");
        }
    }
}
