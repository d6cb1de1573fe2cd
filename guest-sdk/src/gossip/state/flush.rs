//! The end of a turn: everything that waits goes out, as far as the lanes take it.

use super::view::pick;
use super::{Asked, Port, State};
use crate::abi::{PeerId, SendError};
use crate::gossip::item::ItemId;
use crate::gossip::peer::{Notices, Peer};
use crate::gossip::session::{MOST_RANGES, Next, Session};
use crate::gossip::wire::{self, Ask, HEAD, Message};

/// How soon what found no free peer is tried again.
const AGAIN_MS: u64 = 100;
/// Sessions wait while more than this part of the table of missing items is taken.
const MISSING_SHARE: usize = 2;

impl State {
    /// Sends what waits and is due. Returns when it wants to be called again.
    pub(in crate::gossip) fn flush(&mut self, now_ms: u64, port: &mut impl Port) -> u64 {
        let expired = self.pending.expire(now_ms.saturating_sub(self.policy.pending_ms));
        self.stats.undecided += expired as u64;
        self.keep_view(now_ms, port);
        self.ask_for_missing(now_ms, port);
        self.go_on_reconciling(now_ms, port);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.speak(peer, now_ms, port);
        }
        for (peer, verdict, why) in std::mem::take(&mut self.reports) {
            port.report(peer, verdict, why);
        }
        let wake_ms = self.wake_ms(now_ms);
        // Sessions that wait for missing items have no moment of their own.
        if self.sessions.values().any(|session| session.ask.is_none()) {
            wake_ms.min(now_ms + AGAIN_MS)
        } else {
            wake_ms
        }
    }

    fn ask_for_missing(&mut self, now_ms: u64, port: &mut impl Port) {
        if self.missing.next_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        let (policy, peers) = (&self.policy, &self.peers);
        let can = |id: &PeerId| {
            let free = |peer: &&Peer| peer.is_trusted(now_ms) && !peer.busy && now_ms >= peer.quiet_until_ms;
            let peer = peers.get(id).filter(free);
            peer.map_or(0, |peer| policy.want_open.saturating_sub(peer.wants.len()) * policy.want_items)
        };
        // The answer or its absence moves it on; this is for a node that hears of neither.
        let asked_until_ms = now_ms + 2 * u64::from(policy.want_timeout_ms);
        let asks = self.missing.take_due(now_ms, now_ms + AGAIN_MS, asked_until_ms, can);
        for ((to, graft), ids) in asks {
            let room = self.peers.get(&to).map_or(0, |peer| peer.max_message.saturating_sub(HEAD) / 32);
            for ids in ids.chunks(self.policy.want_items.min(room).max(1)) {
                self.want(to, graft, ids, now_ms, port);
            }
        }
    }

    fn want(&mut self, to: PeerId, graft: bool, ids: &[ItemId], now_ms: u64, port: &mut impl Port) {
        let body = wire::encode(&Ask::Want { graft, ids: ids.to_vec() });
        match self.ask(to, &body, now_ms, port) {
            Ok(ask) => {
                self.stats.wanted += ids.len() as u64;
                self.asks.insert(ask, Asked::Items(to));
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.wants.insert(ask, ids.to_vec());
                }
                if graft {
                    self.stats.grafts += 1;
                    self.grafted(to, now_ms);
                }
            }
            Err(error) => {
                self.note_busy(to, error);
                ids.iter().for_each(|id| self.missing.again(id, to, now_ms + AGAIN_MS));
            }
        }
    }

    /// Asks, if the peer's quota has room for another request.
    fn ask(&mut self, to: PeerId, body: &[u8], now_ms: u64, port: &mut impl Port) -> Result<u64, SendError> {
        let peer = self.peers.get_mut(&to).ok_or(SendError::NotConnected)?;
        if !peer.pace.asks.take(1, now_ms) {
            return Err(SendError::OverBudget);
        }
        port.ask(to, self.policy.want_timeout_ms, body)
    }

    fn note_busy(&mut self, to: PeerId, error: SendError) {
        if error == SendError::Busy
            && let Some(peer) = self.peers.get_mut(&to)
        {
            peer.busy = true;
        }
    }

    /// Begins the reconciliations that are due and goes on with those under way.
    fn go_on_reconciling(&mut self, now_ms: u64, port: &mut impl Port) {
        if now_ms >= self.round_at_ms {
            let every = self.policy.reconcile_every_ms;
            self.round_at_ms = now_ms + every / 2 + port.random() % (every + 1);
            let trusted = self.peers.iter().filter(|(_, peer)| peer.is_trusted(now_ms)).map(|(id, _)| *id);
            if let Some(peer) = pick(&trusted.collect::<Vec<_>>(), port).and_then(|id| self.peers.get_mut(&id)) {
                peer.reconcile_at_ms.get_or_insert(now_ms);
            }
        }
        for (id, peer) in &mut self.peers {
            if self.sessions.len() >= self.policy.sessions {
                break;
            }
            let due = peer.reconcile_at_ms.is_some_and(|at_ms| at_ms <= now_ms) && peer.is_trusted(now_ms);
            if due && !self.sessions.contains_key(id) {
                peer.reconcile_at_ms = None;
                self.sessions.insert(*id, Session::new());
                self.stats.sessions += 1;
            }
        }
        if self.missing.len() > self.policy.missing / MISSING_SHARE {
            return;
        }
        let idle = self.sessions.iter().filter(|(_, session)| session.ask.is_none()).map(|(id, _)| *id);
        for with in idle.collect::<Vec<_>>() {
            self.step(with, now_ms, port);
        }
    }

    fn step(&mut self, with: PeerId, now_ms: u64, port: &mut impl Port) {
        let frame = self.frame(with);
        let Some(session) = self.sessions.get_mut(&with) else { return };
        let body = match session.next(&self.index, frame) {
            Next::Done => {
                self.sessions.remove(&with);
                return;
            }
            Next::Survey => {
                let mut low = self.floor;
                let window = self.policy.window.max(self.index.len().div_ceil(MOST_RANGES));
                let ends = self.index.cut(low, crate::gossip::item::Place::LAST, window);
                let ranges = ends.into_iter().map(|high| {
                    let range = (high, self.index.digest(low, high));
                    low = high;
                    range
                });
                let ranges = ranges.collect();
                wire::encode(&Ask::Survey { floor: self.floor, ranges })
            }
            Next::Step((low, high), step) => wire::encode(&Ask::Reconcile { low, high, body: &step }),
        };
        match self.ask(with, &body, now_ms, port) {
            Ok(ask) => {
                self.asks.insert(ask, Asked::Session(with));
                if let Some(session) = self.sessions.get_mut(&with) {
                    session.ask = Some(ask);
                }
            }
            Err(SendError::Busy | SendError::OverBudget) => {
                self.sessions.remove(&with);
                self.lost(with, now_ms);
            }
            Err(_) => drop(self.sessions.remove(&with)),
        }
    }

    /// Everything that waits for one peer.
    fn speak(&mut self, to: PeerId, now_ms: u64, port: &mut impl Port) {
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| !peer.busy) else { return };
        let notices = std::mem::take(&mut peer.notices);
        let Notices { prune, graft, join, leave } = notices;
        let messages = [
            prune.then_some(Message::Prune),
            graft.then_some(Message::Graft),
            join.map(Message::Join),
            leave.then_some(Message::Leave),
        ];
        for message in messages.into_iter().flatten() {
            if let Err(error) = port.send(to, &wire::encode(&message)) {
                // They are said again when there is another reason.
                self.note_busy(to, error);
            }
        }
        self.push(to, now_ms, port);
        if self.peers.get(&to).is_some_and(|peer| !peer.busy) {
            self.tell(to, now_ms, port);
        }
    }

    fn push(&mut self, to: PeerId, now_ms: u64, port: &mut impl Port) {
        loop {
            let Some(peer) = self.peers.get(&to).filter(|peer| !peer.busy) else { return };
            let room = peer.max_message;
            let (mut used, mut frame) = (HEAD, Vec::new());
            while let Some((id, hops)) = self.peers.get(&to).and_then(|peer| peer.push.front().copied()) {
                let Some(bytes) = self.bytes(&id, port) else {
                    self.next_push(to);
                    continue;
                };
                let cost = bytes.len() + HEAD;
                if used + cost > room && !frame.is_empty() {
                    break;
                }
                self.next_push(to);
                used += cost;
                frame.push((id, hops, bytes));
            }
            if frame.is_empty() {
                return;
            }
            let items = frame.iter().map(|(_, hops, bytes)| (*hops, &**bytes)).collect();
            match port.send(to, &wire::encode(&Message::Push(items))) {
                Ok(()) => {
                    self.stats.pushed += frame.len() as u64;
                    self.stats.pushed_bytes += used as u64;
                }
                Err(error) => {
                    return self.owe(to, frame.into_iter().map(|(id, hops, _)| (hops, id)).collect(), error, now_ms);
                }
            }
        }
    }

    fn next_push(&mut self, to: PeerId) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.push.pop_front();
        }
    }

    /// A lane took nothing more: what it should have carried is announced once there is room.
    fn owe(&mut self, to: PeerId, items: Vec<(u8, ItemId)>, error: SendError, now_ms: u64) {
        self.note_busy(to, error);
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let rest = std::mem::take(&mut peer.push).into_iter().map(|(id, hops)| (hops, id));
        for item in items.into_iter().chain(rest) {
            self.stats.debts += 1;
            peer.queue_have(item, &self.policy, now_ms);
        }
    }

    /// Announcements whose time has come.
    fn tell(&mut self, to: PeerId, now_ms: u64, port: &mut impl Port) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let most = (peer.max_message.saturating_sub(HEAD) / 33).max(1);
        let mut outcome = Ok(());
        while outcome.is_ok() && !peer.held.is_empty() {
            let ids: Vec<_> = peer.held.iter().take(most).copied().collect();
            let count = ids.len();
            outcome = peer.tell(count, &Message::Held(ids), now_ms, |body| port.send(to, body));
            if outcome.is_ok() {
                peer.held.drain(..count);
                self.stats.announced += count as u64;
            }
        }
        while outcome.is_ok() && !peer.have.is_empty() && peer.have_at_ms <= now_ms {
            let items: Vec<_> = peer.have.iter().take(most).copied().collect();
            let count = items.len();
            outcome = peer.tell(count, &Message::Have(items), now_ms, |body| port.send(to, body));
            if outcome.is_ok() {
                peer.have.drain(..count);
                self.stats.announced += count as u64;
            }
        }
        if let Err(error) = outcome {
            peer.busy = error == SendError::Busy;
            peer.have_at_ms = now_ms + AGAIN_MS;
        }
    }
}
