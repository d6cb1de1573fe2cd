//! What peers say, ask and answer.

use super::{Asked, Port, State};
use crate::abi::{AskError, PeerId};
use crate::gossip::item::ItemId;
use crate::gossip::peer::Role;
use crate::gossip::session;
use crate::gossip::wire::{self, Answer, Ask, HEAD, Message};

impl State {
    /// A one-way message.
    pub(in crate::gossip) fn message(&mut self, from: PeerId, body: &[u8], now_ms: u64, port: &mut impl Port) {
        if !self.trusts(&from, now_ms) {
            self.stats.over_quota += 1;
            return;
        }
        match wire::decode(body) {
            Some(Message::Push(items)) => self.pushed(from, &items, now_ms, port),
            Some(Message::Have(items)) => {
                for (hops, id) in &items {
                    self.shorten(id, *hops, from, now_ms);
                }
                self.announced(from, items.into_iter().map(|(_, id)| id), true, now_ms);
            }
            Some(Message::Held(ids)) => self.announced(from, ids.into_iter(), false, now_ms),
            Some(Message::Graft) => self.grafted(from, now_ms),
            Some(Message::Prune) => {
                if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.role == Role::Eager) {
                    peer.role = Role::Lazy;
                    // It is announced instead: it may be what the peer lacks.
                    for (id, hops) in std::mem::take(&mut peer.push) {
                        peer.queue_have((hops, id), &self.policy, now_ms);
                    }
                }
            }
            Some(Message::Join(urgent)) => self.joined(from, urgent, now_ms),
            Some(Message::Leave) => self.left(from, now_ms),
            None => self.malformed(from, now_ms),
        }
    }

    fn malformed(&mut self, from: PeerId, now_ms: u64) {
        self.stats.malformed += 1;
        self.strike(from, "its messages cannot be read", now_ms);
    }

    fn announced(&mut self, from: PeerId, ids: impl ExactSizeIterator<Item = ItemId>, new: bool, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.quotas.ids.take(ids.len() as u64, now_ms) {
            self.stats.over_quota += 1;
            return self.strike(from, "it announces more than it may", now_ms);
        }
        self.stats.heard += ids.len() as u64;
        let due_ms = if new { now_ms + self.policy.graft_after_ms } else { now_ms };
        for id in ids {
            if !self.knows(&id) && !self.missing.announce(id, from, due_ms, new) {
                // Too much is missing already: what is over is found again when some of it has come.
                return self.lost(from, now_ms + self.policy.reconcile_soon_ms);
            }
        }
    }

    /// A request: the answer, or none when it cannot be read.
    pub(in crate::gossip) fn request(
        &mut self,
        from: PeerId,
        body: &[u8],
        now_ms: u64,
        port: &mut impl Port,
    ) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(&from).filter(|peer| peer.is_trusted(now_ms));
        if !peer.is_some_and(|peer| peer.quotas.asks.take(1, now_ms)) {
            self.stats.over_quota += 1;
            return Some(wire::encode(&Answer::Later));
        }
        match wire::decode(body) {
            Some(Ask::Want { graft, ids }) => Some(self.serve(from, graft, &ids, now_ms, port)),
            Some(Ask::Survey { floor, ranges }) => {
                let floor = floor.max(self.floor);
                let differ = session::survey(&self.index, floor, &ranges, self.policy.window);
                Some(wire::encode(&Answer::Differ(differ)))
            }
            Some(Ask::Reconcile { low, high, body }) => {
                let window = self.index.window(low, high.max(low));
                // It was cut to a window when it was surveyed; one that has doubled since is to be surveyed again.
                if negentropy::NegentropyStorageBase::size(&window).is_ok_and(|size| size > 2 * self.policy.window) {
                    return Some(wire::encode(&Answer::Later));
                }
                let frame = self.frame(from);
                match session::answer(&self.index, low, high, frame, body) {
                    Some(step) => Some(wire::encode(&Answer::Step(&step))),
                    None => {
                        self.malformed(from, now_ms);
                        None
                    }
                }
            }
            None => {
                self.malformed(from, now_ms);
                None
            }
        }
    }

    /// Bytes of a step, so that it fits what the peer takes. `negentropy` takes none below 4 KiB.
    pub(super) fn frame(&self, peer: PeerId) -> usize {
        let most = self.peers.get(&peer).map_or(0, |peer| peer.max_message.saturating_sub(4 * HEAD));
        self.policy.frame.min(most).max(4_096)
    }

    fn serve(&mut self, to: PeerId, graft: bool, ids: &[ItemId], now_ms: u64, port: &mut impl Port) -> Vec<u8> {
        if graft {
            self.grafted(to, now_ms);
        }
        let Some(room) = self.peers.get(&to).map(|peer| peer.max_message) else { return wire::encode(&Answer::Later) };
        let (mut used, mut more, mut found) = (HEAD, false, Vec::new());
        for id in ids.iter().take(self.policy.want_items) {
            if !self.stamps.contains_key(id) && !self.seen.contains(id) {
                continue;
            }
            let Some(bytes) = self.bytes(id, port) else { continue };
            let cost = bytes.len() + HEAD;
            let quota = self.peers.get_mut(&to).map(|peer| &mut peer.quotas.served);
            if used + cost > room || !quota.is_some_and(|quota| quota.take(cost as u64, now_ms)) {
                more = true;
                break;
            }
            used += cost;
            found.push(bytes);
        }
        if more && found.is_empty() {
            return wire::encode(&Answer::Later);
        }
        self.stats.served += found.len() as u64;
        wire::encode(&Answer::Items { more, items: found.iter().map(|bytes| &**bytes).collect() })
    }

    /// The outcome of one of our asks. False when it was none of them.
    pub(in crate::gossip) fn response(
        &mut self,
        ask: u64,
        outcome: &Result<&[u8], AskError>,
        now_ms: u64,
        port: &mut impl Port,
    ) -> bool {
        match self.asks.remove(&ask) {
            Some(Asked::Items(from)) => self.items_response(from, ask, outcome, now_ms, port),
            Some(Asked::Session(with)) => self.session_response(with, ask, outcome, now_ms),
            None => return false,
        }
        true
    }

    fn items_response(
        &mut self,
        from: PeerId,
        ask: u64,
        outcome: &Result<&[u8], AskError>,
        now_ms: u64,
        port: &mut impl Port,
    ) {
        let Some(wanted) = self.peers.get_mut(&from).and_then(|peer| peer.wants.remove(&ask)) else { return };
        match outcome.as_ref().map(|body| wire::decode(body)) {
            Ok(Some(Answer::Items { more, items })) => {
                self.handed_over(from, &wanted, (more, &items), now_ms, port);
            }
            Ok(Some(Answer::Later)) => {
                let later = now_ms + u64::from(self.policy.want_timeout_ms) / 2;
                wanted.iter().for_each(|id| self.missing.again(id, from, later));
                if let Some(peer) = self.peers.get_mut(&from).filter(|peer| now_ms >= peer.quiet_until_ms) {
                    // Several may have been under way: they count once.
                    peer.quiet_until_ms = later;
                    self.strike(from, "it puts off what it announced", now_ms);
                }
            }
            Ok(_) => {
                self.malformed(from, now_ms);
                wanted.iter().for_each(|id| self.missing.failed(id, from, now_ms));
            }
            Err(AskError::NotConnected | AskError::Unsupported | AskError::Busy) => {
                wanted.iter().for_each(|id| self.missing.failed(id, from, now_ms));
            }
            Err(_) => wanted.iter().for_each(|id| {
                if self.missing.owes(id, from) {
                    self.broken(id, from, now_ms);
                }
            }),
        }
    }

    fn session_response(&mut self, with: PeerId, ask: u64, outcome: &Result<&[u8], AskError>, now_ms: u64) {
        let frame = self.frame(with);
        let Some(session) = self.sessions.get_mut(&with).filter(|session| session.ask == Some(ask)) else { return };
        session.ask = None;
        let answer = outcome.as_ref().ok().map(|body| wire::decode(body));
        match answer {
            Some(Some(Answer::Differ(differ))) => session.surveyed(differ),
            Some(Some(Answer::Step(body))) => match session.answered(&self.index, frame, body) {
                Some(found) => self.found(with, found, now_ms),
                None => {
                    self.sessions.remove(&with);
                    self.malformed(with, now_ms);
                }
            },
            Some(Some(Answer::Later)) => {
                self.sessions.remove(&with);
                self.lost(with, now_ms + self.policy.reconcile_every_ms / 4);
            }
            Some(_) => {
                self.sessions.remove(&with);
                self.malformed(with, now_ms);
            }
            None => drop(self.sessions.remove(&with)),
        }
    }

    fn found(&mut self, with: PeerId, found: session::Found, now_ms: u64) {
        self.stats.steps += 1;
        self.stats.found += found.need.len() as u64;
        let mut over = false;
        for id in found.need {
            if !self.knows(&id) {
                over |= !self.missing.announce(id, with, now_ms, false);
            }
        }
        if let Some(peer) = self.peers.get_mut(&with) {
            let room = self.policy.have_queue.saturating_sub(peer.held.len());
            over |= found.have.len() > room;
            peer.held.extend(found.have.into_iter().take(room));
            if over {
                peer.reconcile_soon(&self.policy, now_ms);
            }
        }
    }
}
