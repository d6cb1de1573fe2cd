//! Compiled plugins, kept on disk: found by what was compiled and for which engine, and trusted only when this node
//! wrote them.
//!
//! Loading compiled code means running whatever it says, so the question is who could have put a file here. The folder
//! belongs to the node's user alone (mode 0700), and every entry carries a tag (HMAC-SHA-256) over its name and all of
//! its code, made with a key that only this node can derive, from its secret key. So code of another node, of another
//! engine, of another plugin under this name, a damaged or half-written file, and anything that somebody without the
//! node's key wrote is not an entry, is thrown away, and costs one compilation. Who has the node's key owns the node
//! anyway. Code is looked at after it was read, in memory of this process: exchanging the file meanwhile changes nothing.

mod entry;
mod folder;

use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use aws_lc_rs::{digest, hmac};

pub(super) use self::entry::Name;
use self::folder::Folder;
use super::Signer;

/// What the node signs to get the key of its cache. Nothing else that it signs begins like this.
const KEY_LABEL: &[u8] = b"weir-code-cache-v1";

/// Where compiled plugins are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Made when it is not there. The node's own: others may not even look into it.
    pub folder: PathBuf,
    /// Bytes on disk. What was not used for longest goes first; one larger than this is not kept.
    pub max_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct CodeCache {
    folder: Folder,
    key: hmac::Key,
    stamp: [u8; 32],
}

/// What was found under a name.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// It was thrown away: why.
    Damaged(String),
    Code(Vec<u8>),
}

impl CodeCache {
    /// Opens the folder. `engine` is what two engines must have in common to run each other's code.
    ///
    /// # Errors
    /// Why the folder cannot be used.
    pub(super) fn open(config: &CacheConfig, signer: &dyn Signer, engine: impl Hash) -> std::io::Result<Self> {
        let folder = Folder::open(&config.folder, config.max_bytes)?;
        // A signature of Ed25519 cannot be foretold without the key, and is the same every time.
        let secret = digest::digest(&digest::SHA256, &signer.sign(KEY_LABEL));
        Ok(Self { folder, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), stamp: stamp(engine) })
    }

    /// The name under which the code of a file lies. It was accepted when its code was kept, and is what it was.
    pub(super) fn name(&self, file: &[u8]) -> Name {
        Name::of(&self.stamp, file)
    }

    /// Looks for code, and throws away what is no good.
    pub(super) fn get(&self, name: &Name) -> Found {
        let file = match self.folder.read(name) {
            Ok(Some(file)) => file,
            Ok(None) => return Found::Nothing,
            Err(error) => return Found::Damaged(self.throw_away(name, &error.to_string())),
        };
        match entry::open(&self.key, name, file) {
            Some(code) => {
                self.folder.touch(name);
                Found::Code(code)
            }
            None => Found::Damaged(self.throw_away(name, "this node did not write it as it is")),
        }
    }

    /// Forgets an entry: what to say of it.
    pub(super) fn throw_away(&self, name: &Name, why: &str) -> String {
        match self.folder.remove(name) {
            Ok(()) => format!("{}: {why}", self.folder.path(name).display()),
            Err(error) => format!("{}: {why}, and it cannot be removed: {error}", self.folder.path(name).display()),
        }
    }

    /// Keeps code, and makes room for it.
    ///
    /// # Errors
    /// What the system says. Nothing half-written stays under the name then.
    pub(super) fn put(&self, name: &Name, code: &[u8]) -> std::io::Result<()> {
        let [head, tag] = [entry::head(code), entry::tag(&self.key, name, code)];
        self.folder.write(name, &[&head, &tag, code])
    }
}

/// What compiled code depends on besides the file: the engine and its settings, and what this crate accepts and makes of
/// a file before it is compiled.
pub(super) fn stamp(engine: impl Hash) -> [u8; 32] {
    let mut stamp = Stamp(digest::Context::new(&digest::SHA256));
    engine.hash(&mut stamp);
    stamp.write(&super::inspect::GENERATION.to_le_bytes());
    stamp.write(env!("CARGO_PKG_VERSION").as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(stamp.0.finish().as_ref());
    bytes
}

/// Collects what is hashed with a hash that nobody can make collide.
struct Stamp(digest::Context);

impl Hasher for Stamp {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not what it is for.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
