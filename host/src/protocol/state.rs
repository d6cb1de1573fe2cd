//! The decisions of the protocol manager: local registrations, every peer's set, and what follows from both.
//!
//! Pure. Invariants:
//! - A registration number is the sequence of the set at the moment of registration, so it is never used twice, and
//!   a stream opened at set sequence `s` belongs to a registration numbered at most `s`.
//! - A pair of peer and protocol is *open* exactly while the peer is up, has the protocol in its applied set, and
//!   the protocol is registered here. `Open` and `Shut` alternate per pair, starting with `Open`.
//! - When a peer replaces its registration (another number for the same id), the pair is shut and opened again.

use std::collections::{BTreeMap, VecDeque};

use super::set::{Entry, SetError, checked_set, wire_entry};
use super::watch::Snapshot;
use super::{ProtocolId, RegisterError};
use crate::peer::PeerId;
use crate::wire::{MAX_PROTOCOLS, ProtocolEntry, SetChange, StreamHeader};

/// Changes of the local set that are remembered to make differences of; a peer that is further behind gets the
/// full set.
const REMEMBERED_CHANGES: usize = 256;

/// What follows from an event, to be done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Traffic of the pair may flow: make its lane, then tell the handler.
    Open {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
        /// The peer's number for it.
        registration: u64,
        /// The smaller of both sides' limits, in bytes.
        max_message: u32,
    },
    /// No longer: end its lane and its readers, then tell the handler.
    Shut {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
    },
    /// The local set has a new sequence: tell every peer. Always last.
    Announce,
}

#[derive(Debug, Clone)]
enum Change {
    Added(u64, ProtocolId),
    Removed(u64),
}

#[derive(Debug)]
struct Peer {
    incarnation: u64,
    sequence: u64,
    set: BTreeMap<ProtocolId, Entry>,
}

/// The state. See the head of the file.
#[derive(Debug, Default)]
pub(super) struct State {
    sequence: u64,
    local: BTreeMap<ProtocolId, Entry>,
    changes: VecDeque<(u64, Change)>,
    peers: BTreeMap<PeerId, Peer>,
}

impl State {
    /// The sequence of the local set.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The local set.
    pub(super) fn local_set(&self) -> Vec<ProtocolEntry> {
        self.local.iter().map(|(id, entry)| wire_entry(id, *entry)).collect()
    }

    /// What to tell a peer that has applied `base`; `None` when it is up to date.
    pub(super) fn change_since(&self, base: u64) -> Option<SetChange> {
        if base >= self.sequence {
            return None;
        }
        let known = self.changes.front().is_some_and(|(first, _)| *first <= base + 1);
        if !known {
            return Some(self.full());
        }
        let mut added = BTreeMap::new();
        let mut removed = Vec::new();
        for (_, change) in self.changes.iter().filter(|(sequence, _)| *sequence > base) {
            match change {
                Change::Added(number, id) => drop(added.insert(*number, id)),
                Change::Removed(number) if added.remove(number).is_some() => {}
                Change::Removed(number) => removed.push(*number),
            }
        }
        let entry = |(number, id): (u64, &ProtocolId)| {
            let entry = self.local.get(id).filter(|entry| entry.registration == number)?;
            Some(wire_entry(id, *entry))
        };
        let added = added.into_iter().filter_map(entry).collect();
        Some(SetChange::Difference { base, added, removed })
    }

    /// The whole local set as a change.
    pub(super) fn full(&self) -> SetChange {
        SetChange::Full { protocols: self.local_set() }
    }

    /// The highest sequence of the peer's set that was applied, for its current incarnation.
    pub(super) fn applied(&self, peer: &PeerId) -> Option<u64> {
        self.peers.get(peer).map(|peer| peer.sequence)
    }

    /// The incarnation the peer is up with.
    pub(super) fn incarnation(&self, peer: &PeerId) -> Option<u64> {
        self.peers.get(peer).map(|peer| peer.incarnation)
    }

    /// Everybody who is up.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.keys().copied()
    }

    /// What subscribers are told of the peer.
    pub(super) fn snapshot(&self, peer: &PeerId) -> Option<Snapshot> {
        let peer = self.peers.get(peer)?;
        let protocols = peer.set.iter().map(|(id, entry)| (id.clone(), entry.registration)).collect();
        Some(Snapshot { incarnation: peer.incarnation, protocols })
    }

    /// The peer's own entry for a protocol.
    #[cfg(test)]
    pub(super) fn remote(&self, peer: &PeerId, protocol: &ProtocolId) -> Option<Entry> {
        self.peers.get(peer)?.set.get(protocol).copied()
    }

    /// What a connected peer supports.
    pub(super) fn peer_protocols(&self, peer: &PeerId) -> Vec<ProtocolId> {
        self.peers.get(peer).map(|peer| peer.set.keys().cloned().collect()).unwrap_or_default()
    }

    /// Connected peers that support all of `protocols`.
    pub(super) fn peers_supporting(&self, protocols: &[ProtocolId]) -> Vec<PeerId> {
        let supports = |peer: &Peer| protocols.iter().all(|id| peer.set.contains_key(id));
        self.peers.iter().filter(|(_, peer)| supports(peer)).map(|(id, _)| *id).collect()
    }

    /// Registers a protocol; the number it got and what follows.
    pub(super) fn register(
        &mut self,
        id: &ProtocolId,
        max_message: u32,
        owner_of: impl Fn(&ProtocolId) -> String,
    ) -> Result<(u64, Vec<Action>), RegisterError> {
        if self.local.contains_key(id) {
            return Err(RegisterError::Taken { id: id.clone(), owner: owner_of(id) });
        }
        if self.local.len() >= MAX_PROTOCOLS {
            return Err(RegisterError::TooMany { limit: MAX_PROTOCOLS });
        }
        self.sequence += 1;
        let entry = Entry { registration: self.sequence, max_message };
        self.local.insert(id.clone(), entry);
        self.remember(Change::Added(entry.registration, id.clone()));
        let with_it = self.peers.iter().filter_map(|(peer, theirs)| Some((*peer, *theirs.set.get(id)?)));
        let opened = with_it.map(|(peer, remote)| open(peer, id, entry, remote));
        // Opened before anybody hears of it: a stream may follow at once.
        Ok((entry.registration, opened.chain([Action::Announce]).collect()))
    }

    /// Unregisters a protocol; nothing follows when it is not registered.
    pub(super) fn unregister(&mut self, id: &ProtocolId) -> Vec<Action> {
        let Some(entry) = self.local.remove(id) else { return Vec::new() };
        self.sequence += 1;
        self.remember(Change::Removed(entry.registration));
        let with_it = self.peers.iter().filter(|(_, peer)| peer.set.contains_key(id));
        let shut = with_it.map(|(peer, _)| Action::Shut { peer: *peer, protocol: id.clone() });
        shut.chain([Action::Announce]).collect()
    }

    fn remember(&mut self, change: Change) {
        self.changes.push_back((self.sequence, change));
        if self.changes.len() > REMEMBERED_CHANGES {
            self.changes.pop_front();
        }
    }

    /// An admitted connection said hello. A known incarnation only brings its set up to date; a new one is a new
    /// peer under the old name.
    pub(super) fn peer_up(
        &mut self,
        peer: PeerId,
        incarnation: u64,
        sequence: u64,
        protocols: Vec<ProtocolEntry>,
    ) -> Result<Vec<Action>, SetError> {
        let set = checked_set(protocols, sequence)?;
        let mut actions = Vec::new();
        if self.incarnation(&peer).is_some_and(|known| known != incarnation) {
            actions = self.peer_down(&peer);
        }
        let known = self.peers.entry(peer).or_insert(Peer { incarnation, sequence: 0, set: BTreeMap::new() });
        if sequence >= known.sequence {
            known.sequence = sequence;
            let before = std::mem::replace(&mut known.set, set);
            actions.extend(self.compare(peer, &before));
        }
        Ok(actions)
    }

    /// The last connection of a peer is gone.
    pub(super) fn peer_down(&mut self, peer: &PeerId) -> Vec<Action> {
        let Some(gone) = self.peers.remove(peer) else { return Vec::new() };
        let open = gone.set.into_keys().filter(|id| self.local.contains_key(id));
        open.map(|protocol| Action::Shut { peer: *peer, protocol }).collect()
    }

    /// A peer pushed a change of its set.
    pub(super) fn peer_changed(
        &mut self,
        peer: PeerId,
        incarnation: u64,
        sequence: u64,
        change: SetChange,
    ) -> Result<Vec<Action>, SetError> {
        let known = self.peers.get_mut(&peer).filter(|known| known.incarnation == incarnation);
        let known = known.ok_or(SetError::Stale)?;
        if sequence <= known.sequence {
            return Ok(Vec::new());
        }
        let after = match change {
            SetChange::Full { protocols } => checked_set(protocols, sequence)?,
            SetChange::Difference { base, .. } if base != known.sequence => return Err(SetError::OtherBase),
            SetChange::Difference { added, removed, .. } => {
                let mut after = known.set.clone();
                after.retain(|_, entry| !removed.contains(&entry.registration));
                for (id, entry) in checked_set(added, sequence)? {
                    if after.insert(id, entry).is_some() {
                        return Err(SetError::Violation("a protocol was added twice".into()));
                    }
                }
                after
            }
        };
        if after.len() > MAX_PROTOCOLS {
            return Err(SetError::Violation(format!("{} protocols; the limit is {MAX_PROTOCOLS}", after.len())));
        }
        known.sequence = sequence;
        let before = std::mem::replace(&mut known.set, after);
        Ok(self.compare(peer, &before))
    }

    /// What follows from a peer's set being no longer `before`: first everything that ends, then what begins.
    fn compare(&self, peer: PeerId, before: &BTreeMap<ProtocolId, Entry>) -> Vec<Action> {
        let Some(after) = self.peers.get(&peer).map(|peer| &peer.set) else { return Vec::new() };
        let shared = |id: &ProtocolId| self.local.contains_key(id);
        let ended = before.iter().filter(|(id, entry)| shared(id) && after.get(*id) != Some(entry));
        let shut = ended.map(|(id, _)| Action::Shut { peer, protocol: id.clone() });
        let begun = after.iter().filter(|(id, entry)| before.get(*id) != Some(entry));
        let opened = begun.filter_map(|(id, remote)| Some(open(peer, id, *self.local.get(id)?, *remote)));
        shut.chain(opened).collect()
    }
}

/// Whether a stream belongs to an open pair of this incarnation and these registration numbers. Registrations come and
/// go while a stream waits, so what was found by name is checked by number: nothing reaches a successor.
pub(super) fn belongs(header: &StreamHeader, incarnation: u64, ours: u64, theirs: u64) -> bool {
    // Numbers are sequences: a stream from before the peer's own registration is of its predecessor.
    header.incarnation == incarnation && header.registration == ours && header.sequence >= theirs
}

fn open(peer: PeerId, protocol: &ProtocolId, local: Entry, remote: Entry) -> Action {
    let max_message = local.max_message.min(remote.max_message);
    Action::Open { peer, protocol: protocol.clone(), registration: remote.registration, max_message }
}
