//! The node's key: made, kept in a file that only its owner can read, and used to sign.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{EncodePrivateKey, SecretDocument};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::peer::PeerId;
use crate::runtime::Entropy;

/// First word of a key file: says what the file is and in which form the key follows.
const LABEL: &str = "weir-key-v1";

/// Length of a key file with its newline.
const FILE_LENGTH: usize = LABEL.len() + 1 + 64 + 1;

/// Why a key file could not be made or read. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file.
    #[error(
        "there is no key at {}: restore it from a backup, name the right folder with --dir, or run `weir init` for a \
         new identity (after moving weir.toml away, if there is one)", .path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A new key would overwrite something, and with it the identity of a node.
    #[error("{} exists already and is not overwritten, because it is a node's identity: move it away first", .path.display())]
    Exists {
        /// What stands in the way.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error(
        "{} is no key file ({reason}): expected is one line, `{LABEL}` followed by a space and 64 hexadecimal digits; \
         restore it from a backup, or move it and weir.toml away and run `weir init` for a new identity", .path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never quotes its content.
        reason: &'static str,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "the key file {} may be used by others (mode {mode:04o}, at most 0600 is allowed): run `chmod 600 {}`",
        .path.display(), .path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused.
    #[error("failed to {action} the key file {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A node's Ed25519 key pair. Its public half is the node's [`PeerId`].
///
/// The secret half appears in no `Debug` output and is wiped from memory on drop. It is not `Clone`, so that there
/// is one copy: share it in an `Arc`.
///
/// ```
/// use weir_host::{identity::NodeKey, runtime::SeededEntropy};
///
/// let key = NodeKey::generate(&SeededEntropy::from_seed(7));
/// assert_eq!(key.peer_id().to_string().len(), 64);
/// ```
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// Draws a new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(secret.as_mut());
        Self(SigningKey::from_bytes(&secret))
    }

    /// Draws a new key and writes it to `path`, readable and writable by the owner only from its first moment on.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when something is there already, [`KeyError::Io`] when the file cannot be written; no
    /// half-written file stays behind.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let key = Self::generate(entropy);
        let mut file = owner_only().open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => failed("create", path, source),
        })?;
        if let Err(source) = key.write_to(&mut file) {
            // The file is ours and worth nothing; the first error is the one to tell.
            let _ = std::fs::remove_file(path);
            return Err(failed("write", path, source));
        }
        sync_folder_of(path);
        Ok(key)
    }

    /// Reads the key that [`Self::create`] wrote.
    ///
    /// # Errors
    /// Each case of [`KeyError`] but `Exists`.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => failed("open", path, source),
        })?;
        check_permissions(&file, path)?;
        // One byte more than a key file has, so that a longer file is noticed and none is read whole.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH + 2));
        file.take(FILE_LENGTH as u64 + 2).read_to_end(&mut text).map_err(|source| failed("read", path, source))?;
        parse(&text).map_err(|reason| KeyError::Broken { path: path.to_owned(), reason })
    }

    /// Who this node is to others.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message (Ed25519, RFC 8032). Whoever signs for more than one purpose puts a label of its own before
    /// the message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The key as PKCS #8, which TLS takes. Wiped on drop.
    ///
    /// # Errors
    /// Never for a sound key; the encoder's interface allows for it.
    pub(crate) fn to_pkcs8(&self) -> Result<SecretDocument, ed25519_dalek::pkcs8::Error> {
        self.0.to_pkcs8_der()
    }

    fn write_to(&self, file: &mut File) -> io::Result<()> {
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH));
        text.extend_from_slice(LABEL.as_bytes());
        text.push(b' ');
        for byte in self.0.as_bytes() {
            text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.peer_id().short())
    }
}

fn parse(text: &[u8]) -> Result<NodeKey, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let digits = text
        .strip_prefix(LABEL.as_bytes())
        .and_then(|rest| rest.strip_prefix(b" "))
        .ok_or("it does not begin with that word")?
        .trim_ascii_end();
    if digits.len() != 64 {
        return Err("the number of digits is not 64");
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or("there is something else than digits");
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(NodeKey(SigningKey::from_bytes(&secret)))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { action, path: path.to_owned(), source }
}

/// Opens for writing only what does not exist yet. The mode is given at creation, so that there is no moment at
/// which others could open the file.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Asks the open file, not the path, which could name another file a moment later.
#[cfg(unix)]
fn check_permissions(file: &File, path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(|source| failed("inspect", path, source))?.permissions().mode() & 0o7777;
    if mode & !0o600 == 0 { Ok(()) } else { Err(KeyError::Permissions { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_permissions(_file: &File, _path: &Path) -> Result<(), KeyError> {
    Ok(())
}

/// Makes the new name survive a power cut too. Best effort: some file systems cannot sync a folder, and the key
/// itself is on disk already.
fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededEntropy;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn entropy() -> SeededEntropy {
        SeededEntropy::from_seed(1)
    }

    #[test]
    fn a_key_survives_its_file() {
        let folder = folder();
        let path = folder.path().join("key");
        let made = NodeKey::create(&path, &entropy()).expect("a new file");
        let read = NodeKey::load(&path).expect("the same file");
        assert_eq!(made.peer_id(), read.peer_id());
        assert_eq!(made.sign(b"message"), read.sign(b"message"));
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("weir-key-v1 ") && text.len() == FILE_LENGTH, "{text}");
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = folder();
        let path = folder.path().join("key");
        std::fs::write(&path, "precious").expect("a file");
        let error = NodeKey::create(&path, &entropy()).expect_err("must refuse");
        assert!(matches!(error, KeyError::Exists { .. }));
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_use_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let path = folder.path().join("key");
        NodeKey::create(&path, &entropy()).expect("a new file");
        let mode = || std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o600);
        for wide in [0o640, 0o604, 0o700] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(wide)).expect("chmod");
            let text = NodeKey::load(&path).expect_err("must refuse").to_string();
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).expect("chmod");
        NodeKey::load(&path).expect("narrower than needed is fine");
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let folder = folder();
        let text = NodeKey::load(&folder.path().join("key")).expect_err("nothing there").to_string();
        assert!(text.contains("weir init"), "{text}");
    }

    #[test]
    fn a_broken_file_is_named_and_its_content_is_not_shown() {
        let folder = folder();
        let path = folder.path().join("key");
        drop(owner_only().open(&path).expect("a file"));
        let digits = "5e".repeat(32);
        let longer = format!("{LABEL} {digits}0\n");
        let other = format!("{LABEL} {}z\n", &digits[1..]);
        for broken in ["", "\n", "secret-5e5e5e", "weir-key-v2 00", &longer, &other, &"weir-key-v1 ".repeat(9)] {
            std::fs::write(&path, broken).expect("a file");
            let error = NodeKey::load(&path).expect_err("must refuse");
            let text = error.to_string();
            assert!(matches!(error, KeyError::Broken { .. }), "{text}");
            assert!(text.contains(&path.display().to_string()) && !text.contains("5e5e"), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = NodeKey::generate(&entropy());
        let secret: String = key.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = format!("{key:?}");
        assert!(!secret.contains(&shown[8..shown.len() - 1]), "{shown}");
    }
}
