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

/// A request without an answer yet.
struct Open {
    peer: PeerId,
    wants: Vec<Want>,
    /// Its own summary showed what it is asked for.
    hearsay: bool,
}

/// Who is there, and what was asked.
#[derive(Default)]
pub(super) struct CatchUp {
    peers: BTreeSet<PeerId>,
    open: BTreeMap<u64, Open>,
    asked: BTreeSet<Want>,
    /// Asked without success since the last tick: the next tick asks somebody else.
    refused: BTreeSet<Want>,
    heard: BTreeMap<PeerId, Want>,
    /// Peers that last owed an answer, or what their own summary showed: the others are asked first.
    owing: BTreeSet<PeerId>,
    served: BTreeMap<PeerId, u32>,
    turn: usize,
}

impl CatchUp {
    /// Tells a new peer where this node stands.
    pub(super) fn on_peer(&mut self, peer: PeerId, ledger: &Ledger, ctx: &Context) {
        self.peers.insert(peer);
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
        let peers: Vec<_> = self.peers.iter().copied().collect();
        if peers.is_empty() {
            return;
        }
        let first = ctx.random_number() as usize;
        let chosen: Vec<_> =
            (0..peers.len().min(SUMMARIES)).map(|step| peers[(first.wrapping_add(step)) % peers.len()]).collect();
        tell(&chosen, ledger, ctx);
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
        match ledger.hear(&theirs, store) {
            Some(want) => drop(self.heard.insert(message.peer, want)),
            None => drop(self.heard.remove(&message.peer)),
        }
    }

    /// Asks for what is missing: what a summary showed from its sender, the rest from who named it, else from anybody in turn.
    pub(super) fn ask(&mut self, ledger: &mut Ledger, store: &PluginStore<'_>, ctx: &Context) {
        if self.peers.is_empty() || self.open.len() >= MAX_OPEN {
            return;
        }
        self.ask_who_boasts(ctx);
        let mut wants = ledger.wants(store, MAX_OPEN * MAX_WANTS);
        wants.retain(|want| !self.asked.contains(want) && !self.refused.contains(want));
        if wants.is_empty() {
            return;
        }
        let sources = ledger.sources().into_iter().map(|source| PeerId::from_bytes(source.0));
        let known: Vec<_> = sources.filter(|source| self.peers.contains(source)).collect();
        // Who named it should have it; every other time somebody else, in case it has not.
        let mut among =
            if known.is_empty() || self.turn % 2 == 1 { self.peers.iter().copied().collect() } else { known };
        if among.iter().any(|peer| !self.owing.contains(peer)) {
            among.retain(|peer| !self.owing.contains(peer));
        }
        for (place, some) in wants.chunks(MAX_WANTS).enumerate() {
            let peer = among[(self.turn / 2 + place) % among.len()];
            self.ask_for(peer, some.to_vec(), false, ctx);
        }
    }

    /// Asks those whose summaries show something new, each for one thing at a time, and first those that deliver.
    fn ask_who_boasts(&mut self, ctx: &Context) {
        let mut heard: Vec<_> = std::mem::take(&mut self.heard).into_iter().collect();
        heard.sort_by_key(|(peer, _)| self.owing.contains(peer));
        for (peer, want) in heard {
            let hearsay = || self.open.values().filter(|open| open.hearsay);
            if hearsay().count() < MAX_HEARSAY && hearsay().all(|open| open.peer != peer) {
                self.ask_for(peer, vec![want], true, ctx);
            } else {
                self.heard.insert(peer, want);
            }
        }
    }

    fn ask_for(&mut self, peer: PeerId, mut wants: Vec<Want>, hearsay: bool, ctx: &Context) {
        wants.retain(|want| !self.asked.contains(want) && !self.refused.contains(want));
        if wants.is_empty() || self.open.len() >= MAX_OPEN {
            return;
        }
        let Ok(body) = encode(&wants) else { return };
        match ctx.ask_bytes(peer, PROTOCOL, TIMEOUT_MS, &[&[WANT], &body[..]].concat()) {
            Ok(id) => {
                self.asked.extend(&wants);
                self.open.insert(id, Open { peer, wants, hearsay });
            }
            Err(_) => self.turn += 1,
        }
    }

    /// The items that a peer answered with. None for an answer to somebody else, and for a failure.
    pub(super) fn on_response(&mut self, response: &Response<'_>) -> Option<(PeerId, Vec<Vec<u8>>)> {
        let Open { peer, wants, hearsay } = self.open.remove(&response.id)?;
        for want in &wants {
            self.asked.remove(want);
        }
        let items: Vec<Vec<u8>> = response.decode().unwrap_or_default();
        if (response.outcome.is_err() || hearsay && items.is_empty()) && self.peers.contains(&peer) {
            self.owing.insert(peer);
        } else {
            self.owing.remove(&peer);
        }
        if items.is_empty() {
            // Somebody else may have it; the same again not before the next tick.
            self.turn += 1;
            self.refused.extend(wants);
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
