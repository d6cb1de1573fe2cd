// STUB
//! (stands in for the node's key)
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::peer::PeerId;
use crate::runtime::Entropy;

/// The node's key.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// I/O.
    #[error("cannot use the key file {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Broken.
    #[error("the key file {} is damaged: restore it from a backup", .0.display())]
    Damaged(PathBuf),
}

impl NodeKey {
    /// New key in a new file.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(&seed).map_err(io)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// From its file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = std::fs::read(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        let seed = bytes.try_into().map_err(|_| KeyError::Damaged(path.to_owned()))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The public half.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }
}
