//! The state machine of one gossip: events and the time in, messages out through a [`Port`]. Pure: it has no clock, no
//! store and no randomness of its own.

mod flush;
mod intake;
mod talk;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::index::Index;
use super::item::{ItemId, Place};
use super::missing::Missing;
use super::peer::{Peer, Role};
use super::pending::{Incoming, Pending};
use super::policy::Policy;
use super::seen::Seen;
use super::session::Session;
use super::stats::Stats;
use crate::abi::{PeerId, Reachable, SendError, Verdict};
use crate::collections::HashMap;

/// What the state machine acts through.
pub(super) trait Port {
    fn send(&mut self, to: PeerId, body: &[u8]) -> Result<(), SendError>;
    fn ask(&mut self, to: PeerId, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError>;
    fn report(&mut self, peer: PeerId, verdict: Verdict, why: &str);
    fn random(&mut self) -> u64;
    /// The bytes of an item that was kept.
    fn load(&self, id: &ItemId) -> Option<Vec<u8>>;
    fn id(&self, bytes: &[u8]) -> ItemId;
    fn stamp(&self, bytes: &[u8]) -> u64;
}

/// What an ask of ours was for.
#[derive(Debug)]
enum Asked {
    Items(PeerId),
    Session(PeerId),
}

/// An accepted item that is to be stored.
#[derive(Debug)]
pub(super) struct Write {
    pub place: Place,
    pub bytes: Rc<[u8]>,
}

/// An item that was accepted lately, and how it came.
#[derive(Debug)]
struct Recently {
    bytes: Rc<[u8]>,
    hops: u8,
    from: Option<PeerId>,
}

/// The items that were accepted lately.
#[derive(Debug, Default)]
struct Recent {
    items: BTreeMap<ItemId, Recently>,
    order: VecDeque<ItemId>,
    bytes: usize,
}

impl Recent {
    fn insert(&mut self, id: ItemId, item: Recently, most: usize) {
        self.bytes += item.bytes.len();
        if let Some(before) = self.items.insert(id, item) {
            self.bytes -= before.bytes.len();
        } else {
            self.order.push_back(id);
        }
        while self.bytes > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.items.remove(&oldest).map_or(0, |item| item.bytes.len());
        }
    }
}

/// A quarter of the index is free before what it had no room for is read again, so that a set whose size stays about the
/// limit is not read all the time.
const ROOM: usize = 4;

/// See the module.
pub(super) struct State {
    pub policy: Policy,
    node: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    index: Index,
    stamps: HashMap<ItemId, u64>,
    /// The index had no room for everything: nothing before this place is compared.
    floor: Place,
    /// Whether something was left out since the items were last read from the beginning.
    left_out: bool,
    /// While they are read again: from here on the index has all that it should have.
    complete: Option<Place>,
    seen: Seen,
    /// Hashes of bytes that were rejected. By bytes and not by id, because an id may cover only a part of them.
    rejected: Seen,
    has_rejected: bool,
    missing: Missing,
    pending: Pending,
    recent: Recent,
    sessions: BTreeMap<PeerId, Session>,
    asks: BTreeMap<u64, Asked>,
    round_at_ms: u64,
    shuffle_at_ms: u64,
    reports: Vec<(PeerId, Verdict, &'static str)>,
    /// What the turn's end is to store, in order.
    pub writes: VecDeque<Write>,
    /// When a peer last had to give way to one that had nobody.
    gave_way_ms: u64,
    pub stats: Stats,
}

impl State {
    pub(super) fn new(policy: Policy, node: PeerId, now_ms: u64) -> Self {
        Self {
            node,
            peers: BTreeMap::new(),
            index: Index::default(),
            stamps: HashMap::default(),
            floor: Place::FIRST,
            left_out: false,
            complete: None,
            seen: Seen::new(policy.seen),
            rejected: Seen::new(policy.seen / 16),
            has_rejected: false,
            missing: Missing::new(&policy),
            pending: Pending::default(),
            recent: Recent::default(),
            sessions: BTreeMap::new(),
            asks: BTreeMap::new(),
            round_at_ms: now_ms + policy.reconcile_every_ms,
            shuffle_at_ms: now_ms + policy.shuffle_every_ms,
            reports: Vec::new(),
            writes: VecDeque::new(),
            gave_way_ms: 0,
            stats: Stats::default(),
            policy,
        }
    }

    // What is known.

    /// Whether an item is held, waits for a decision, or was seen before.
    pub(super) fn knows(&self, id: &ItemId) -> bool {
        self.stamps.contains_key(id) || self.pending.contains(id) || self.seen.contains(id)
    }

    /// Items in the index.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Items that were announced and are not here, and items that wait for a decision.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.missing.len(), self.pending.len())
    }

    /// Notes an item that is held. False when the index has no room for one so old.
    pub(super) fn hold(&mut self, place: Place) -> bool {
        // `negentropy` takes the last stamp for infinity.
        let place = Place { stamp: place.stamp.min(u64::MAX - 1), ..place };
        if self.index.len() >= self.policy.index && self.index.first().is_some_and(|first| place < first) {
            self.leave_out(place);
            return false;
        }
        if let Some(before) = self.stamps.insert(place.id, place.stamp) {
            self.index.remove(Place { stamp: before, id: place.id });
        }
        self.index.insert(place);
        while self.index.len() > self.policy.index
            && let Some(oldest) = self.index.first()
        {
            self.index.remove(oldest);
            self.stamps.remove(&oldest.id);
            self.leave_out(oldest);
        }
        true
    }

    /// An item is held and not compared: the floor rises above it.
    fn leave_out(&mut self, place: Place) {
        self.seen.insert(place.id);
        self.left_out = true;
        let first = self.index.first().unwrap_or(place);
        self.floor = self.floor.max(first);
        self.complete = self.complete.map(|complete| complete.max(first));
    }

    /// Whether the items are to be read again because there is room for some that were left out.
    pub(super) fn reads_again(&mut self) -> bool {
        let most = self.policy.index;
        if self.complete.is_none() && self.left_out && self.index.len() < most - most / ROOM {
            self.left_out = false;
            self.complete = Some(Place::FIRST);
        }
        self.complete.is_some()
    }

    /// All items were read again: what there was room for is compared from now on. Not before, or a peer would be told
    /// that what has not been read yet is missing here.
    pub(super) fn all_read(&mut self) {
        self.floor = self.complete.take().unwrap_or(self.floor);
    }

    /// The items cannot be read: the floor stays where it is.
    pub(super) fn not_read(&mut self) {
        self.complete = None;
    }

    /// Holds an item that came by other means: nobody needs to be asked for it. False when there is no room for it.
    pub(super) fn take_in(&mut self, place: Place) -> bool {
        self.missing.remove(&place.id);
        self.pending.remove(&place.id);
        self.hold(place)
    }

    /// Forgets an item that is no longer held. It is not taken again while it is remembered as seen.
    pub(super) fn forget(&mut self, id: &ItemId, seen: bool) {
        if let Some(stamp) = self.stamps.remove(id) {
            self.index.remove(Place { stamp, id: *id });
        }
        if seen {
            self.seen.insert(*id);
        } else {
            self.seen.remove(id);
        }
    }

    /// The bytes of an item that is held.
    fn bytes(&self, id: &ItemId, port: &impl Port) -> Option<Rc<[u8]>> {
        let recent = self.recent.items.get(id).map(|item| item.bytes.clone());
        let unwritten = || self.writes.iter().find(|write| write.place.id == *id).map(|write| write.bytes.clone());
        recent.or_else(|| port.load(id).map(Rc::from)).or_else(unwritten)
    }

    /// The next item for the plugin to decide on.
    pub(super) fn next(&mut self) -> Option<Incoming> {
        self.pending.next()
    }

    // Peers.

    pub(super) fn peer_supported(&mut self, there: Reachable, now_ms: u64, port: &mut impl Port) {
        let mut peer = Peer::new(there.max_message, &self.policy, now_ms);
        // One of the two begins; it finds what either lacks.
        if self.node < there.peer {
            let soon = self.policy.reconcile_soon_ms;
            peer.reconcile_at_ms = Some(now_ms + soon + port.random() % (soon + 1));
        }
        self.peers.insert(there.peer, peer);
    }

    pub(super) fn peer_unsupported(&mut self, peer: PeerId, now_ms: u64) {
        self.peers.remove(&peer);
        self.sessions.remove(&peer);
        self.missing.forget_peer(peer, now_ms);
    }

    pub(super) fn relieved(&mut self, peer: PeerId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.busy = false;
            peer.have_at_ms = peer.have_at_ms.min(now_ms);
        }
    }

    /// Messages to or from this peer were lost.
    pub(super) fn lost(&mut self, peer: PeerId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.reconcile_soon(&self.policy, now_ms);
        }
    }

    /// A peer did something wrong. When it has done too much of it, nothing is taken from it for a while.
    fn strike(&mut self, peer: PeerId, why: &'static str, now_ms: u64) {
        let policy = &self.policy;
        let Some(it) = self.peers.get_mut(&peer) else { return };
        if it.patience.take(1, now_ms) || !it.is_trusted(now_ms) {
            return;
        }
        it.distrusted_until_ms = now_ms + policy.distrust_ms;
        it.patience = super::quota::Bucket::new(policy.strikes, now_ms + policy.distrust_ms);
        it.notices.leave = it.in_view();
        it.role = Role::Aside;
        it.push.clear();
        it.have.clear();
        self.stats.distrusted += 1;
        self.reports.push((peer, Verdict::Abusive, why));
        self.sessions.remove(&peer);
        self.missing.forget_peer(peer, now_ms);
    }

    fn trusts(&self, peer: &PeerId, now_ms: u64) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.is_trusted(now_ms))
    }

    /// The peers that items are pushed to and announced to.
    pub(super) fn active_view(&self) -> (Vec<PeerId>, Vec<PeerId>) {
        let of = |role| self.peers.iter().filter(move |(_, peer)| peer.role == role).map(|(id, _)| *id).collect();
        (of(Role::Eager), of(Role::Lazy))
    }

    /// When there is something to do even if nothing happens before.
    pub(super) fn wake_ms(&self, now_ms: u64) -> u64 {
        let mut wake = self.round_at_ms.min(self.shuffle_at_ms);
        let mut also = |at_ms: Option<u64>| wake = wake.min(at_ms.unwrap_or(u64::MAX));
        also(self.missing.next_ms());
        let free = self.sessions.len() < self.policy.sessions;
        for (id, peer) in &self.peers {
            let can = free && peer.is_trusted(now_ms) && !self.sessions.contains_key(id);
            also(peer.reconcile_at_ms.filter(|_| can));
            let waits = !peer.have.is_empty() || !peer.held.is_empty();
            also(Some(peer.have_at_ms).filter(|_| !peer.busy && waits));
        }
        wake
    }
}
