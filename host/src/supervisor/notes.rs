//! What the layers below told about peers, until the actor takes it.
//!
//! Bounded by arithmetic: for every peer at most three notes and one record, whatever it does; peers come and go no
//! faster than the node admits them, and the actor never waits for anybody.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::peer::PeerId;
use crate::wire::{AddressRecord, SignedAddressRecord};

/// One piece of news of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// It has its first admitted connection.
    Up,
    /// It has lost its last one; `refused` names the reason when the peer or the node did not want it.
    Down { refused: Option<String> },
}

/// What a connection told about where its peer is.
#[derive(Debug, Clone)]
pub struct PeerPlace {
    /// Who.
    pub peer: PeerId,
    /// From where its packets come.
    pub seen: IpAddr,
    /// Where this node dialed it, when it did.
    pub dialed: Option<SocketAddr>,
    /// Its own signed record and what that says, verified.
    pub record: Option<(SignedAddressRecord, AddressRecord)>,
}

/// What is known of one peer since the actor looked last.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Up and down in turns, in order.
    pub(super) notes: Vec<Note>,
    /// The latest.
    pub(super) place: Option<PeerPlace>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    waiting: Mutex<BTreeMap<PeerId, News>>,
    pub(super) more: Notify,
}

impl Notes {
    /// Adds news. A whole session between two others is left out: the first and the last note stay, so that what the
    /// peer was and what it is are told, and a fast connect and close is told as exactly that.
    pub(super) fn add(&self, peer: PeerId, note: Note) {
        self.edit(peer, |news| {
            news.notes.push(note);
            if news.notes.len() > 3 {
                news.notes.drain(1..3);
            }
        });
    }

    pub(super) fn place(&self, place: PeerPlace) {
        self.edit(place.peer, |news| news.place = Some(place));
    }

    pub(super) fn take(&self) -> BTreeMap<PeerId, News> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn edit(&self, peer: PeerId, change: impl FnOnce(&mut News)) {
        change(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default());
        self.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(text: &str) -> Note {
        Note::Down { refused: (!text.is_empty()).then(|| text.to_owned()) }
    }

    #[test]
    fn a_fast_connect_and_close_is_told_as_that_and_many_are_told_as_one() {
        let (notes, peer) = (Notes::default(), PeerId::from_bytes([1; 32]));
        notes.add(peer, Note::Up);
        notes.add(peer, down("evicted"));
        assert_eq!(notes.take()[&peer].notes, [Note::Up, down("evicted")]);
        for round in 0..1000 {
            notes.add(peer, Note::Up);
            notes.add(peer, down(&round.to_string()));
        }
        assert_eq!(notes.take()[&peer].notes, [Note::Up, down("999")]);
        for _ in 0..3 {
            notes.add(peer, down(""));
            notes.add(peer, Note::Up);
        }
        assert_eq!(notes.take()[&peer].notes, [down(""), Note::Up]);
        assert!(notes.take().is_empty());
    }
}
