//! The peers that were added while the node ran, kept across restarts.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{FolderError, write_atomically};
use crate::peer::{PeerAddr, PeerId};
use crate::wire::MAX_ADDRESSES;

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
    /// In the order in which they were added; a peer with several addresses stands there several times.
    peers: Vec<KnownPeer>,
}

impl PeerBook {
    /// Reads the file; one that does not exist is an empty book.
    ///
    /// # Errors
    /// When it cannot be read or is damaged. Starting without it would silently drop peers.
    pub fn open(file: PathBuf) -> Result<Self, FolderError> {
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file, peers: Vec::new() }),
            Err(error) => return Err(FolderError::io("read", &file)(error)),
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| FolderError::Damaged {
            file: file.clone(),
            problem: error.to_string(),
            remedy: "repair it, or move it away and add the peers again with `weir peers add`",
        })?;
        Ok(Self { file, peers: document.peers })
    }

    /// The file it is kept in.
    pub fn path(&self) -> &std::path::Path {
        &self.file
    }

    /// All of them, in the order in which they were added: of a peer's several addresses the newest comes last.
    pub fn peers(&self) -> impl Iterator<Item = KnownPeer> + '_ {
        self.peers.iter().copied()
    }

    /// Adds a peer, or another address of one; of more than [`MAX_ADDRESSES`] the one added longest ago goes. Whether
    /// the peer is necessary is what was said last.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written; then nothing changes.
    pub fn add(&mut self, peer: KnownPeer) -> Result<(), FolderError> {
        let id = peer.address.peer;
        let others: BTreeSet<PeerId> = self.peers.iter().map(|known| known.address.peer).filter(|p| *p != id).collect();
        if others.len() >= MAX_KNOWN_PEERS {
            return Err(FolderError::TooManyPeers);
        }
        let mut peers = self.peers.clone();
        peers.retain(|known| known.address != peer.address);
        peers.iter_mut().filter(|known| known.address.peer == id).for_each(|known| known.necessary = peer.necessary);
        if peers.iter().filter(|known| known.address.peer == id).count() >= MAX_ADDRESSES
            && let Some(oldest) = peers.iter().position(|known| known.address.peer == id)
        {
            peers.remove(oldest);
        }
        peers.push(peer);
        self.replace(peers)
    }

    /// Forgets a peer. Says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing changes.
    pub fn remove(&mut self, peer: &PeerId) -> Result<bool, FolderError> {
        let mut peers = self.peers.clone();
        peers.retain(|known| known.address.peer != *peer);
        if peers.len() == self.peers.len() {
            return Ok(false);
        }
        self.replace(peers).map(|()| true)
    }

    fn replace(&mut self, peers: Vec<KnownPeer>) -> Result<(), FolderError> {
        let document = Document { peers };
        let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other);
        text.and_then(|text| write_atomically(&self.file, &text)).map_err(FolderError::io("write", &self.file))?;
        self.peers = document.peers;
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
        assert_eq!(again, [peer(1, 1), peer(1, 3)]);
    }

    #[test]
    fn a_peer_has_at_most_as_many_addresses_as_it_may_tell_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("folder");
        let mut book = PeerBook::open(dir.path().join("peers.json")).expect("empty");
        for port in 1..=20 {
            book.add(peer(1, port)).expect("add");
        }
        book.add(KnownPeer { necessary: false, ..peer(1, 20) }).expect("add again");
        let ports: Vec<u16> = book.peers().map(|known| known.address.address.port()).collect();
        assert_eq!(ports, (5..=20).collect::<Vec<u16>>());
        assert!(book.peers().all(|known| !known.necessary), "what was said last");
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
