//! The queue of one plugin: what waits, in which order, and what a turn takes. Pure.
//!
//! Messages wait in segments, each as large as one turn may take: a turn takes the first segment whole, bodies
//! and all, and nothing is copied a second time. Control news wait as coalesced state ahead of the queue.

use std::collections::{BTreeSet, HashMap};

use super::batch::{Batch, CommandHead, Item};
use super::news::NewsBoard;
use super::queue::{Entry, Queue, What};
use crate::peer::PeerId;
use crate::plugin::CallError;
use crate::protocol::{AskError, AskId, InBatch, Inbound, News, ProtocolId, RequestToken};

/// How much the mailbox holds and a turn takes.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugin) struct Bounds {
    /// Units of room in all; senders wait while they are used up.
    pub(in crate::plugin) room: u32,
    /// What the smallest message takes: `room / unit` is the most events.
    pub(in crate::plugin) unit: u32,
    pub(in crate::plugin) batch_events: usize,
    pub(in crate::plugin) batch_bytes: usize,
    pub(in crate::plugin) commands: usize,
}

/// What waits for a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) struct Waiting {
    pub(in crate::plugin) events: usize,
    /// Of bodies.
    pub(in crate::plugin) bytes: usize,
    pub(in crate::plugin) commands: usize,
}

/// Names one stay of a peer on a protocol; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stay(u64);

#[derive(Debug)]
struct Lane {
    /// None while the peer is not there.
    stay: Option<Stay>,
    /// The plugin was told `supported` and not yet `unsupported`.
    told: bool,
}

/// What happened to a batch that wants in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// May wait for room as part of this stay.
    Welcome(Stay),
    /// The peer is not there (any more): nothing may be delivered.
    Absent,
    /// The plugin takes nothing any more.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(in crate::plugin) struct MailboxState {
    bounds: Bounds,
    open: bool,
    lanes: HashMap<(PeerId, ProtocolId), Lane>,
    stays: HashMap<Stay, (PeerId, ProtocolId)>,
    next_stay: u64,
    news: NewsBoard,
    queue: Queue,
    waiting_requests: BTreeSet<RequestToken>,
    waiting_commands: BTreeSet<u64>,
    /// Withdrawn commands that are still in the queue.
    void_commands: usize,
    purged: u64,
}

impl MailboxState {
    pub(in crate::plugin) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            open: true,
            lanes: HashMap::new(),
            stays: HashMap::new(),
            next_stay: 0,
            news: NewsBoard::default(),
            queue: Queue::default(),
            waiting_requests: BTreeSet::new(),
            waiting_commands: BTreeSet::new(),
            void_commands: 0,
            purged: 0,
        }
    }

    /// Messages and requests that were not handled because their peer went or the plugin ended.
    pub(in crate::plugin) fn purged(&self) -> u64 {
        self.purged
    }

    /// What waits, with what was purged and is still held.
    pub(super) fn waiting(&self) -> Waiting {
        Waiting {
            events: self.queue.entries() + self.news.len(),
            bytes: self.queue.bytes(),
            commands: self.waiting_commands.len() + self.void_commands,
        }
    }

    /// Bounds for whatever comes from now on: the room there was, and the room there is.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) -> (u32, u32) {
        let before = std::mem::replace(&mut self.bounds, bounds).room;
        (before, bounds.room)
    }

    /// Whether a turn would find something.
    pub(in crate::plugin) fn is_empty(&self) -> bool {
        self.news.is_empty() && self.queue.is_empty()
    }

    pub(super) fn admit(&self, peer: PeerId, protocol: &ProtocolId) -> Admission {
        if !self.open {
            return Admission::Closed;
        }
        // The key is cloned because a tuple cannot be looked up by its parts; once per batch, two counters.
        let stay = self.lanes.get(&(peer, protocol.clone())).and_then(|lane| lane.stay);
        stay.map_or(Admission::Absent, Admission::Welcome)
    }

    /// The room a batch takes. One larger than the mailbox takes all of it.
    pub(super) fn cost(&self, batch: &InBatch) -> u32 {
        let sum: u64 = batch.items.iter().map(|item| u64::from(self.item_cost(item))).sum();
        u32::try_from(sum).unwrap_or(u32::MAX).min(self.bounds.room)
    }

    fn item_cost(&self, item: &Inbound) -> u32 {
        u32::try_from(item.body().len()).unwrap_or(u32::MAX).max(self.bounds.unit)
    }

    /// Takes a batch whose cost was paid. False when its stay is over: the cost goes back then.
    pub(super) fn push(&mut self, stay: Stay, batch: &InBatch, mut paid: u32) -> bool {
        if !self.open || !self.stays.contains_key(&stay) {
            return false;
        }
        let bytes = batch.items.iter().map(|item| item.body().len()).sum();
        self.queue.reserve(batch.items.len(), bytes, &self.bounds);
        for item in &batch.items {
            let cost = self.item_cost(item).min(paid);
            paid -= cost;
            match item {
                Inbound::Message(body) => self.append(What::Message(stay), body, cost),
                Inbound::Request { token, timeout, body } => {
                    self.waiting_requests.insert(*token);
                    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                    self.append(What::Request(stay, *token, timeout), body, cost);
                }
            }
        }
        true
    }

    fn append(&mut self, what: What, body: &[u8], cost: u32) {
        self.queue.append(what, body, cost, &self.bounds);
    }

    /// The outcome of an ask. Always fits: open asks are limited.
    pub(super) fn response(&mut self, ask: AskId, outcome: Result<&[u8], AskError>) {
        match outcome {
            Ok(body) => self.append(What::Response(ask, None), body, 0),
            Err(error) => self.append(What::Response(ask, Some(Box::new(error))), &[], 0),
        }
    }

    /// The outcome of a call. Always fits: open calls are limited.
    pub(super) fn called(&mut self, call: u64, outcome: Result<&[u8], CallError>) {
        match outcome {
            Ok(body) => self.append(What::Called(call, None), body, 0),
            Err(error) => self.append(What::Called(call, Some(Box::new(error))), &[], 0),
        }
    }

    /// Takes a command, unless too many wait.
    pub(super) fn command(&mut self, head: CommandHead, body: &[u8]) -> bool {
        if !self.open || self.waiting_commands.len() + self.void_commands >= self.bounds.commands {
            return false;
        }
        self.waiting_commands.insert(head.id);
        self.append(What::Command(Box::new(head)), body, 0);
        true
    }

    /// A command needs no answer any more. One that still waits is dropped without a word.
    pub(super) fn command_withdrawn(&mut self, id: u64) {
        if self.waiting_commands.remove(&id) {
            self.void_commands += 1;
            self.queue.void(|what| matches!(what, What::Command(head) if head.id == id), || What::NoCommand);
        } else {
            self.append(What::CommandWithdrawn(id), &[], 0);
        }
    }

    /// Takes news.
    pub(super) fn news(&mut self, news: News) {
        match news {
            News::Supported { peer, protocol, max_message } => self.supported((peer, protocol), max_message),
            News::Unsupported { peer, protocol } => self.unsupported((peer, protocol)),
            News::Congested { peer, protocol } => self.news.pressure((peer, protocol), true),
            News::Relieved { peer, protocol } => self.news.pressure((peer, protocol), false),
            News::Undelivered { peer, protocol, messages } => self.news.undelivered((peer, protocol), messages),
            News::Missed { peer, protocol, messages } => self.news.missed((peer, protocol), messages),
            News::Withdrawn(token) => self.request_withdrawn(token),
        }
    }

    fn supported(&mut self, name: (PeerId, ProtocolId), max_message: u32) {
        let lane = self.lanes.entry(name.clone()).or_insert(Lane { stay: None, told: false });
        if lane.stay.is_none() {
            let stay = Stay(self.next_stay);
            self.next_stay += 1;
            lane.stay = Some(stay);
            self.stays.insert(stay, name.clone());
        }
        self.news.supported(name, max_message);
    }

    fn unsupported(&mut self, name: (PeerId, ProtocolId)) {
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        let (told, stay) = (lane.told, lane.stay.take());
        if !told {
            self.lanes.remove(&name);
        }
        if let Some(stay) = stay {
            self.stays.remove(&stay);
            let (messages, _) = self.forget(stay);
            if messages > 0 {
                self.news.missed(name.clone(), messages);
            }
        }
        self.news.unsupported(name, told);
    }

    /// Forgets what waits of a peer that is muted from now on, and tells its messages as missed: the requests among it.
    pub(super) fn mute(&mut self, name: &(PeerId, ProtocolId)) -> Vec<RequestToken> {
        let Some(stay) = self.lanes.get(name).and_then(|lane| lane.stay) else { return Vec::new() };
        let (messages, requests) = self.forget(stay);
        if messages > 0 {
            self.news.missed(name.clone(), messages);
        }
        requests
    }

    /// Another handler serves the protocol: everybody is gone from it, and what waits of it is told as missed.
    pub(super) fn taken_over(&mut self, protocol: &ProtocolId) {
        let gone: BTreeSet<_> = self.lanes.keys().filter(|(_, of)| of == protocol).cloned().collect();
        gone.into_iter().for_each(|name| self.unsupported(name));
    }

    /// Forgets what waits of one stay: how many messages, and the requests.
    fn forget(&mut self, stay: Stay) -> (u64, Vec<RequestToken>) {
        let (messages, requests) = self.queue.void_all_of(stay);
        for token in &requests {
            self.waiting_requests.remove(token);
        }
        self.purged += messages + requests.len() as u64;
        (messages, requests)
    }

    fn request_withdrawn(&mut self, token: RequestToken) {
        if self.waiting_requests.remove(&token) {
            self.queue.void(|what| matches!(what, What::Request(_, of, _) if *of == token), || What::Nothing);
        } else {
            self.append(What::RequestWithdrawn(token), &[], 0);
        }
    }

    /// How many turns take all that is here, about.
    pub(super) fn turns(&self) -> usize {
        self.queue.segments() + self.news.len().div_ceil(self.bounds.batch_events)
    }

    /// Takes what one turn handles and the room that this gives back: news first, and the queue only when all
    /// news were taken.
    pub(super) fn take(&mut self) -> (Batch, u32) {
        let mut batch = Batch::default();
        let lanes = &self.lanes;
        let news = self.news.take(self.bounds.batch_events, |name| lanes.get(name).is_some_and(|lane| lane.told));
        for one in &news {
            self.note_told(one);
        }
        batch.items.extend(news.into_iter().map(|news| Item::News(Box::new(news))));
        let full = batch.items.len() >= self.bounds.batch_events || !self.news.is_empty();
        let Some(segment) = self.queue.pop_if(!full) else { return (batch, 0) };
        batch.bodies = segment.bodies;
        let mut places = Places::default();
        let mut freed = 0;
        for entry in segment.entries {
            freed += entry.cost;
            if let Some(item) = self.item(entry, &mut places, &mut batch.lanes) {
                batch.items.push(item);
            }
        }
        (batch, freed)
    }

    fn note_told(&mut self, news: &News) {
        match news {
            News::Supported { peer, protocol, .. } => {
                if let Some(lane) = self.lanes.get_mut(&(*peer, protocol.clone())) {
                    lane.told = true;
                }
            }
            News::Unsupported { peer, protocol } => {
                let name = (*peer, protocol.clone());
                let present = self.lanes.get_mut(&name).is_some_and(|lane| {
                    lane.told = false;
                    lane.stay.is_some()
                });
                if !present {
                    self.lanes.remove(&name);
                }
            }
            _ => {}
        }
    }

    fn item(&mut self, entry: Entry, places: &mut Places, lanes: &mut Vec<(PeerId, ProtocolId)>) -> Option<Item> {
        let body = entry.body;
        Some(match entry.what {
            What::Message(stay) => Item::Message { lane: places.of(stay, &self.stays, lanes)?, body },
            What::Request(stay, token, timeout_ms) => {
                self.waiting_requests.remove(&token);
                Item::Request { lane: places.of(stay, &self.stays, lanes)?, token, timeout_ms, body }
            }
            What::Response(ask, error) => Item::Response { ask, outcome: error.map_or(Ok(body), Err) },
            What::Called(call, error) => Item::Called { call, outcome: error.map_or(Ok(body), Err) },
            What::Command(head) => {
                self.waiting_commands.remove(&head.id);
                Item::Command(head, body)
            }
            What::RequestWithdrawn(token) => Item::News(Box::new(News::Withdrawn(token))),
            What::CommandWithdrawn(id) => Item::CommandWithdrawn(id),
            What::Nothing => return None,
            What::NoCommand => {
                self.void_commands -= 1;
                return None;
            }
        })
    }

    /// Forgets everything that waits and takes nothing more until [`MailboxState::reopen`]: the requests and commands that
    /// were waiting, and the room that came back.
    pub(super) fn close(&mut self) -> (Vec<RequestToken>, Vec<u64>, u32) {
        self.open = false;
        let mut freed = 0;
        for entry in self.queue.drain() {
            freed += entry.cost;
            self.purged += u64::from(matches!(entry.what, What::Message(_) | What::Request(..)));
        }
        self.void_commands = 0;
        self.news.clear();
        self.lanes.clear();
        self.stays.clear();
        let requests = std::mem::take(&mut self.waiting_requests).into_iter().collect();
        let commands = std::mem::take(&mut self.waiting_commands).into_iter().collect();
        (requests, commands, freed)
    }

    pub(super) fn reopen(&mut self) {
        self.open = true;
    }
}

/// The positions of lanes in one batch. Messages come in runs of one lane, so the last one is looked at first.
#[derive(Debug, Default)]
struct Places {
    last: Option<(Stay, u32)>,
    all: HashMap<Stay, u32>,
}

impl Places {
    fn of(
        &mut self,
        stay: Stay,
        stays: &HashMap<Stay, (PeerId, ProtocolId)>,
        lanes: &mut Vec<(PeerId, ProtocolId)>,
    ) -> Option<u32> {
        if let Some((of, place)) = self.last
            && of == stay
        {
            return Some(place);
        }
        let place = match self.all.get(&stay) {
            Some(place) => *place,
            None => {
                lanes.push(stays.get(&stay)?.clone());
                self.all.insert(stay, lanes.len() as u32 - 1);
                lanes.len() as u32 - 1
            }
        };
        self.last = Some((stay, place));
        Some(place)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
