//! The peers that were added while the node ran, kept across restarts.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{FolderError, write_atomically};
use crate::peer::{PeerAddr, PeerId};

/// Most peers kept.
pub const MAX_KNOWN_PEERS: usize = 4096;

/// A peer that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownPeer {
    /// Who, and where to dial it.
    pub address: PeerAddr,
    /// Whether the node keeps it connected.
    pub necessary: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    peers: Vec<KnownPeer>,
}

/// The content of `peers.json`. Every change is durable when the call returns.
#[derive(Debug)]
pub struct PeerBook {
    file: PathBuf,
    peers: BTreeMap<PeerId, KnownPeer>,
}

impl PeerBook {
    /// Reads the file; one that does not exist is an empty book.
    ///
    /// # Errors
    /// When it cannot be read or is damaged. Starting without it would silently drop peers.
    pub fn open(file: PathBuf) -> Result<Self, FolderError> {
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file, peers: BTreeMap::new() }),
            Err(error) => return Err(FolderError::io("read", &file)(error)),
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| FolderError::Damaged {
            file: file.clone(),
            problem: error.to_string(),
            remedy: "repair it, or move it away and add the peers again with `weir peers add`",
        })?;
        let peers = document.peers.into_iter().map(|peer| (peer.address.peer, peer)).collect();
        Ok(Self { file, peers })
    }

    /// The file it is kept in.
    pub fn path(&self) -> &std::path::Path {
        &self.file
    }

    /// All of them, by id.
    pub fn peers(&self) -> impl Iterator<Item = KnownPeer> + '_ {
        self.peers.values().copied()
    }

    /// Adds a peer, or gives a known one another address.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written; then nothing changes.
    pub fn add(&mut self, peer: KnownPeer) -> Result<(), FolderError> {
        if self.peers.len() >= MAX_KNOWN_PEERS && !self.peers.contains_key(&peer.address.peer) {
            return Err(FolderError::TooManyPeers);
        }
        let mut peers = self.peers.clone();
        peers.insert(peer.address.peer, peer);
        self.replace(peers)
    }

    /// Forgets a peer. Says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing changes.
    pub fn remove(&mut self, peer: &PeerId) -> Result<bool, FolderError> {
        let mut peers = self.peers.clone();
        if peers.remove(peer).is_none() {
            return Ok(false);
        }
        self.replace(peers).map(|()| true)
    }

    fn replace(&mut self, peers: BTreeMap<PeerId, KnownPeer>) -> Result<(), FolderError> {
        let document = Document { peers: peers.values().copied().collect() };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other);
        text.and_then(|text| write_atomically(&self.file, &text)).map_err(FolderError::io("write", &self.file))?;
        self.peers = peers;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(digit: u8, port: u16) -> KnownPeer {
        let address = PeerAddr { peer: PeerId::from_bytes([digit; 32]), address: ([127, 0, 0, 1], port).into() };
        KnownPeer { address, necessary: digit == 1 }
    }

    #[test]
    fn what_was_added_is_there_again_and_what_was_removed_is_not() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("peers.json");
        let mut book = PeerBook::open(file.clone()).expect("empty");
        book.add(peer(1, 1)).expect("add");
        book.add(peer(2, 2)).expect("add");
        book.add(peer(1, 3)).expect("another address");
        assert!(book.remove(&peer(2, 0).address.peer).expect("remove"));
        assert!(!book.remove(&peer(2, 0).address.peer).expect("gone already"));
        let again: Vec<_> = PeerBook::open(file).expect("read").peers().collect();
        assert_eq!(again, [peer(1, 3)]);
    }

    #[test]
    fn a_damaged_book_is_named() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("peers.json");
        std::fs::write(&file, "{").expect("write");
        let message = PeerBook::open(file).expect_err("damaged").to_string();
        assert!(message.contains("peers.json is damaged"), "{message}");
    }
}
