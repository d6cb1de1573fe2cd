//! Claims that did not come by gossip, got from peers that have others than this node: see [`Pot::find`].
//!
//! On the wire: a message `16 ‖ postcard(Summary)`; a request `17 ‖ postcard(list of the hashes of all groups)`, answered with
//! `postcard(list of the groups that differ)`; a request `18 ‖ postcard(Wanted)`, answered with `postcard(Found)`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use serde::Serialize;
use weir_ledger::{GROUP, Id, Key, PluginStore};
use weir_sdk::prelude::*;
use weir_sdk::{decode, encode};

use super::PROTOCOL;
use crate::items::MIN_ITEM;
use crate::pot::{Found, Pot, Summary, Wanted};

const SUMMARY: u8 = 16;
/// The first byte of a request for the groups that differ.
pub(super) const GROUPS: u8 = 17;
/// The first byte of a request for claims.
pub(super) const WANTED: u8 = 18;
const TIMEOUT_MS: u32 = 5_000;
/// Bytes of claims in one answer: 312 of them, four writes each, beside what else a turn does.
const ANSWER: usize = 32 * 1024;
/// Requests of one peer that are answered between two ticks.
const MAX_SERVED: u32 = 100;
/// Ticks between two summaries, each to one peer.
const EVERY: u32 = 5;
/// How long one peer is asked, in milliseconds, before it is another one's turn.
const SESSION_MS: u64 = 30_000;

/// A comparison under way.
struct Session {
    peer: PeerId,
    over_ms: u64,
    ask: Option<u64>,
    /// The groups that are still to be asked for; none while the groups themselves are.
    groups: Option<VecDeque<u16>>,
    /// Where the first of them goes on.
    from: Option<Key>,
}

impl Session {
    /// Notes an answer. The claims that it brought; none when there is nothing more to be had from this peer.
    fn hear(&mut self, response: &Response<'_>) -> Option<Vec<Vec<u8>>> {
        self.ask = None;
        let Some(groups) = &mut self.groups else {
            let groups: VecDeque<u16> = response.decode().ok()?;
            self.groups = Some(groups.into_iter().take(usize::from(GROUP)).collect());
            return Some(Vec::new());
        };
        let Found { mut claims, next } = response.decode().ok()?;
        if next.is_none_or(|next| self.from.is_some_and(|from| next <= from)) {
            groups.pop_front();
            self.from = None;
        } else {
            self.from = next;
        }
        // More than this node would have sent is more than a turn takes.
        claims.truncate(ANSWER / MIN_ITEM);
        Some(claims)
    }
}

/// The comparison with one peer at a time.
#[derive(Default)]
pub(super) struct Comparing {
    peers: BTreeSet<PeerId>,
    /// Who said that it has other claims.
    others: BTreeSet<PeerId>,
    /// Who was asked last: the others come first.
    last: Option<PeerId>,
    session: Option<Session>,
    served: BTreeMap<PeerId, u32>,
    ticks: u32,
}

impl Comparing {
    pub(super) fn on_peer(&mut self, peer: PeerId, pot: &Pot, ctx: &Context) {
        self.peers.insert(peer);
        tell(peer, pot, ctx);
    }

    pub(super) fn on_peer_gone(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.others.remove(&peer);
    }

    /// Tells somebody where this node stands, now and then.
    pub(super) fn tick(&mut self, pot: &Pot, ctx: &Context) {
        self.served.clear();
        self.ticks += 1;
        if self.ticks.is_multiple_of(EVERY) && !self.peers.is_empty() {
            // Taken modulo before it is cut to the 32 bits that a plugin's `usize` has.
            let place = (ctx.random_number() % self.peers.len() as u64) as usize;
            self.peers.iter().nth(place).into_iter().for_each(|peer| tell(*peer, pot, ctx));
        }
    }

    /// A peer says where it stands. False when it is no summary.
    pub(super) fn on_message(&mut self, message: &Message<'_>, pot: &Pot) -> bool {
        let summary = message.body.split_first().filter(|(kind, _)| **kind == SUMMARY);
        let Some(theirs) = summary.and_then(|(_, rest)| decode::<Summary>(rest).ok()) else { return false };
        if pot.may_lack(&theirs) && self.peers.contains(&message.peer) {
            self.others.insert(message.peer);
        } else {
            self.others.remove(&message.peer);
        }
        true
    }

    /// Asks the next question, of the peer that is being asked or of the next one.
    pub(super) fn ask(&mut self, pot: &Pot, ctx: &Context) {
        if self.session.is_none()
            && let Some(peer) = self.next_peer()
        {
            self.others.remove(&peer);
            self.last = Some(peer);
            let over_ms = ctx.now_ms() + SESSION_MS;
            self.session = Some(Session { peer, over_ms, ask: None, groups: None, from: None });
        }
        let Some(session) = self.session.as_mut().filter(|session| session.ask.is_none()) else { return };
        session.ask = match session.groups.as_ref().map(VecDeque::front) {
            None => send(session.peer, GROUPS, &pot.groups(), ctx),
            Some(Some(group)) if ctx.now_ms() < session.over_ms => {
                send(session.peer, WANTED, &pot.wanted(*group, session.from), ctx)
            }
            Some(_) => None,
        };
        if session.ask.is_none() {
            self.session = None;
        }
    }

    fn next_peer(&self) -> Option<PeerId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.others.range((behind, Bound::Unbounded));
        behind.next().or_else(|| self.others.first()).copied()
    }

    /// The claims that a peer answered with, if this is an answer to a question of this comparison.
    pub(super) fn on_response(&mut self, response: &Response<'_>) -> Option<(PeerId, Vec<Vec<u8>>)> {
        let session = self.session.as_mut().filter(|session| session.ask == Some(response.id))?;
        let (peer, claims) = (session.peer, session.hear(response));
        if claims.is_none() {
            self.session = None;
        }
        Some((peer, claims.unwrap_or_default()))
    }

    /// Answers a peer's question.
    pub(super) fn serve(&mut self, request: &Request<'_>, pot: &Pot, store: &PluginStore<'_>, ctx: &Context) {
        let served = self.served.entry(request.peer).or_default();
        *served += 1;
        if *served > MAX_SERVED {
            ctx.refuse(request.id, Error::new("busy", "this peer has asked enough for now: ask again in a second"));
            return;
        }
        let answer = match request.body.split_first() {
            Some((&GROUPS, groups)) => {
                decode::<Vec<Id>>(groups).and_then(|groups| encode(&pot.differing_groups(&groups)))
            }
            Some((&WANTED, wanted)) => {
                decode::<Wanted>(wanted).and_then(|wanted| encode(&pot.find(&wanted, ANSWER, store)))
            }
            _ => Err(Error::new("malformed", "")),
        };
        match answer {
            Ok(answer) => drop(ctx.respond_bytes(request.id, &answer)),
            Err(_) => drop(ctx.refuse(request.id, Error::new("malformed", "the request is none of this protocol"))),
        }
    }
}

/// The id of the ask; none when it cannot be sent now.
fn send(peer: PeerId, kind: u8, question: &impl Serialize, ctx: &Context) -> Option<u64> {
    let body = encode(question).ok()?;
    ctx.ask_bytes(peer, PROTOCOL, TIMEOUT_MS, &[&[kind], &body[..]].concat()).ok()
}

/// Tells a peer where this node stands. What a lane has no room for, a later tick says.
fn tell(peer: PeerId, pot: &Pot, ctx: &Context) {
    if let Ok(summary) = encode(&pot.summary()) {
        let _ = ctx.send_bytes(peer, PROTOCOL, &[&[SUMMARY], &summary[..]].concat());
    }
}
