//! Catch-up beside the gossip: summaries, and requests for what is missing by name or by height.
//!
//! On the wire, beside the gossip's own bytes: a message `16 ‖ postcard(Summary)`; a request
//! `17 ‖ postcard(sequence of Want)`, at most 128 of them; its answer `postcard(sequence of byte strings)`, items as far as they
//! fit.

use std::collections::{BTreeMap, BTreeSet};

use weir_ledger::PluginStore;
use weir_sdk::prelude::*;
use weir_sdk::{decode, encode};

use super::PROTOCOL;
use crate::meta::Work;
use crate::{Ledger, Summary, Want};

const SUMMARY: u8 = 16;
const WANT: u8 = 17;
/// Bytes of items in one answer: a page, or a thousand operations.
const ANSWER: usize = 256 * 1024;
const TIMEOUT_MS: u32 = 5_000;
/// Requests open at once: enough to fill a link, few enough that answers fit the mailbox.
const MAX_OPEN: usize = 8;
/// Of these, what summaries showed: that a log is longer is one peer's word, and must not keep back what an epoch names.
const MAX_HEARSAY: usize = 4;
/// Wants of one request: an account's operations each, so an answer is full.
const MAX_WANTS: usize = 128;
/// Requests of one peer that are answered between two ticks: a peer that catches up needs fewer.
const MAX_SERVED: u32 = 200;
/// Summaries sent in one tick.
const SUMMARIES: usize = 4;

/// Peers that are asked for one thing between two ticks.
const MAX_TRIES: usize = 8;

/// Why a peer is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its summary showed something new.
    Shown,
    /// It says that it has closed the epoch which names this.
    Ahead,
    /// It may have it.
    Perhaps,
}

/// A request without an answer yet.
struct Open {
    peer: PeerId,
    wants: Vec<Want>,
    why: Why,
}

/// Who is there, and what was asked.
#[derive(Default)]
pub(super) struct CatchUp {
    /// And the last epoch that each said it has closed.
    peers: BTreeMap<PeerId, u64>,
    open: BTreeMap<u64, Open>,
    asked: BTreeSet<Want>,
    /// Who did not have it since the last tick: somebody else is asked.
    refused: BTreeMap<Want, BTreeSet<PeerId>>,
    heard: BTreeMap<PeerId, Want>,
    /// Peers that last owed an answer, or what they said they have: the others are asked first.
    owing: BTreeSet<PeerId>,
    served: BTreeMap<PeerId, u32>,
    turn: usize,
    /// The last epoch that everybody was told of.
    told: u64,
}

impl CatchUp {
    /// Tells a new peer where this node stands.
    pub(super) fn on_peer(&mut self, peer: PeerId, ledger: &Ledger, ctx: &Context) {
        self.peers.insert(peer, 0);
        tell(&[peer], ledger, ctx);
    }

    pub(super) fn on_peer_gone(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.heard.remove(&peer);
        self.owing.remove(&peer);
    }

    /// Tells some peers where this node stands, and lets failed questions be asked again.
    pub(super) fn tick(&mut self, ledger: &Ledger, ctx: &Context) {
        self.refused.clear();
        self.served.clear();
        let peers: Vec<_> = self.peers.keys().copied().collect();
        if peers.is_empty() {
            return;
        }
        // Taken modulo before it is cut to the 32 bits that a plugin's `usize` has.
        let first = (ctx.random_number() % peers.len() as u64) as usize;
        let chosen: Vec<_> = (0..peers.len().min(SUMMARIES)).map(|step| peers[(first + step) % peers.len()]).collect();
        tell(&chosen, ledger, ctx);
    }

    /// Tells everybody of an epoch that was closed, because now they can have from here what it names: once there is no
    /// further one to be closed.
    pub(super) fn tell_news(&mut self, ledger: &Ledger, ctx: &Context) {
        let meta = ledger.meta();
        if meta.work == Work::Idle && meta.closed.epoch != self.told {
            self.told = meta.closed.epoch;
            tell(&self.peers.keys().copied().collect::<Vec<_>>(), ledger, ctx);
        }
    }

    /// A peer says where it stands.
    pub(super) fn on_message(
        &mut self,
        message: &Message<'_>,
        ledger: &mut Ledger,
        store: &PluginStore<'_>,
        ctx: &Context,
    ) {
        let summary = message.body.split_first().filter(|(kind, _)| **kind == SUMMARY);
        let Some(theirs) = summary.and_then(|(_, rest)| decode::<Summary>(rest).ok()) else {
            return ctx.report(message.peer, PROTOCOL, weir_sdk::abi::Verdict::Invalid, "a message that is none");
        };
        if let Some(epoch) = self.peers.get_mut(&message.peer)
            && theirs.genesis == ledger.genesis().hash()
            && *epoch != theirs.epoch
        {
            *epoch = theirs.epoch;
            // What it did not have it may have now.
            for peers in self.refused.values_mut() {
                peers.remove(&message.peer);
            }
        }
        match ledger.hear(&theirs, store) {
            Some(want) => drop(self.heard.insert(message.peer, want)),
            None => drop(self.heard.remove(&message.peer)),
        }
    }

    /// Asks for what is missing: what a summary showed from its sender, the rest from who should have it.
    pub(super) fn ask(&mut self, ledger: &mut Ledger, store: &PluginStore<'_>, ctx: &Context) {
        if self.peers.is_empty() || self.open.len() >= MAX_OPEN {
            return;
        }
        self.ask_who_showed(ctx);
        let mut wants = ledger.wants(store, MAX_OPEN * MAX_WANTS);
        wants.retain(|want| !self.asked.contains(want));
        if wants.is_empty() {
            return;
        }
        let (among, why) = self.whom_to_ask(ledger);
        let mut of_peer: BTreeMap<PeerId, Vec<Want>> = BTreeMap::new();
        for (place, want) in wants.into_iter().enumerate() {
            if let Some(peer) = self.next_for(&want, &among, place / MAX_WANTS) {
                of_peer.entry(peer).or_default().push(want);
            }
        }
        for (peer, wants) in of_peer {
            let why = if among.contains(&peer) { why } else { Why::Perhaps };
            for wants in wants.chunks(MAX_WANTS) {
                self.ask_for(peer, wants.to_vec(), why, ctx);
            }
        }
    }

    /// Asks those whose summaries show something new, each for one thing at a time, and first those that deliver.
    fn ask_who_showed(&mut self, ctx: &Context) {
        let mut heard: Vec<_> = std::mem::take(&mut self.heard).into_iter().collect();
        heard.sort_by_key(|(peer, _)| self.owing.contains(peer));
        for (peer, want) in heard {
            let shown = || self.open.values().filter(|open| open.why == Why::Shown);
            if shown().count() < MAX_HEARSAY && shown().all(|open| open.peer != peer) {
                self.ask_for(peer, vec![want], Why::Shown, ctx);
            } else {
                self.heard.insert(peer, want);
            }
        }
    }

    /// Who is asked first: those that have closed the epoch which is being closed here, else those that have shown it, else
    /// anybody; and of those that owe something nobody, while there are others.
    fn whom_to_ask(&self, ledger: &Ledger) -> (Vec<PeerId>, Why) {
        let closed = ledger.meta().closed.epoch;
        let all = || self.peers.keys().copied();
        let reliable = |peer: &PeerId| !self.owing.contains(peer);
        let ahead: Vec<_> = all().filter(|peer| self.peers[peer] > closed && reliable(peer)).collect();
        if !ahead.is_empty() {
            return (ahead, Why::Ahead);
        }
        let sources = ledger.sources().into_iter().map(|source| PeerId::from_bytes(source.0));
        let known: Vec<_> = sources.filter(|peer| self.peers.contains_key(peer) && reliable(peer)).collect();
        // Every other time somebody else, in case who named it has not got it.
        if !known.is_empty() && self.turn.is_multiple_of(2) {
            return (known, Why::Perhaps);
        }
        let others: Vec<_> = all().filter(reliable).collect();
        (if others.is_empty() { all().collect() } else { others }, Why::Perhaps)
    }

    /// The peer to ask for one thing: in turn, one of these that was not asked for it since the last tick, else any other.
    fn next_for(&self, want: &Want, among: &[PeerId], place: usize) -> Option<PeerId> {
        let refused = self.refused.get(want);
        if refused.is_some_and(|peers| peers.len() >= MAX_TRIES) {
            return None;
        }
        let first = (self.turn / 2 + place) % among.len().max(1);
        let (before, from) = among.split_at(first.min(among.len()));
        let mut candidates = from.iter().chain(before).chain(self.peers.keys());
        candidates.find(|peer| refused.is_none_or(|peers| !peers.contains(peer))).copied()
    }

    fn ask_for(&mut self, peer: PeerId, mut wants: Vec<Want>, why: Why, ctx: &Context) {
        wants.retain(|want| !self.asked.contains(want));
        if wants.is_empty() || self.open.len() >= MAX_OPEN {
            return;
        }
        let Ok(body) = encode(&wants) else { return };
        match ctx.ask_bytes(peer, PROTOCOL, TIMEOUT_MS, &[&[WANT], &body[..]].concat()) {
            Ok(id) => {
                self.asked.extend(&wants);
                self.open.insert(id, Open { peer, wants, why });
            }
            Err(_) => self.turn += 1,
        }
    }

    /// The items that a peer answered with. None for an answer to somebody else, and for a failure.
    pub(super) fn on_response(&mut self, response: &Response<'_>) -> Option<(PeerId, Vec<Vec<u8>>)> {
        let Open { peer, wants, why } = self.open.remove(&response.id)?;
        for want in &wants {
            self.asked.remove(want);
        }
        let items: Vec<Vec<u8>> = response.decode().unwrap_or_default();
        if (response.outcome.is_err() || why != Why::Perhaps && items.is_empty()) && self.peers.contains_key(&peer) {
            self.owing.insert(peer);
        } else {
            self.owing.remove(&peer);
        }
        if items.is_empty() {
            // Somebody else may have it.
            self.turn += 1;
            for want in wants {
                self.refused.entry(want).or_default().insert(peer);
            }
            return None;
        }
        Some((peer, items))
    }

    /// Answers a peer's wants.
    pub(super) fn serve(&mut self, request: &Request<'_>, ledger: &Ledger, store: &PluginStore<'_>, ctx: &Context) {
        let served = self.served.entry(request.peer).or_default();
        *served += 1;
        if *served > MAX_SERVED {
            ctx.refuse(
                request.id,
                Error::new("busy", "this peer has asked enough for now: ask again in a few seconds"),
            );
            return;
        }
        let wants = request.body.split_first().filter(|(kind, _)| **kind == WANT);
        let wants = wants.and_then(|(_, rest)| decode::<Vec<Want>>(rest).ok()).filter(|wants| wants.len() <= MAX_WANTS);
        let Some(wants) = wants else {
            ctx.refuse(request.id, Error::new("malformed", "the request is none of this protocol"));
            return;
        };
        let (mut items, mut left) = (Vec::new(), ANSWER);
        for want in &wants {
            for item in ledger.serve(want, left, store) {
                // One may be larger than what is left, but not beside others.
                if item.len() > left && !items.is_empty() {
                    left = 0;
                    break;
                }
                left = left.saturating_sub(item.len());
                items.push(item);
            }
            if left == 0 {
                break;
            }
        }
        if let Ok(body) = encode(&items) {
            ctx.respond_bytes(request.id, &body);
        }
    }
}

/// Tells peers where this node stands. What a lane has no room for, the next tick says.
fn tell(peers: &[PeerId], ledger: &Ledger, ctx: &Context) {
    if let Ok(summary) = encode(&ledger.summary()) {
        ctx.send_all_bytes(peers, PROTOCOL, &[&[SUMMARY], &summary[..]].concat());
    }
}
