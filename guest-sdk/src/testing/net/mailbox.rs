//! What waits for one plugin: events in order, and ahead of them the coalesced news of its lanes. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::abi::{AskError, CallError, Caller, Count, Event, Lane, PeerId, ProtocolKey, Reachable, Span};
use crate::bindings::weir::plugin::types as wire;

pub(super) type LaneName = (PeerId, ProtocolKey);

/// One event that waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Message(LaneName, Rc<[u8]>),
    Request {
        lane: LaneName,
        id: u64,
        timeout_ms: u32,
        body: Rc<[u8]>,
    },
    Response(u64, Result<Rc<[u8]>, AskError>),
    Command {
        id: u64,
        caller: Caller,
        name: String,
        timeout_ms: u32,
        body: Rc<[u8]>,
    },
    Called(u64, Result<Rc<[u8]>, CallError>),
    Withdrawn(u64),
    Timer(u64),
    /// Purged: its peer went or nobody waits for it any more.
    Nothing,
}

impl Waiting {
    fn body(&self) -> &[u8] {
        match self {
            Self::Message(_, body) | Self::Request { body, .. } | Self::Command { body, .. } => body,
            Self::Response(_, Ok(body)) | Self::Called(_, Ok(body)) => body,
            _ => &[],
        }
    }
}

/// What the plugin has not heard yet about one lane.
#[derive(Debug, Default)]
struct News {
    gone: bool,
    here: Option<u32>,
    congested: Option<bool>,
    undelivered: u64,
    missed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: VecDeque<Waiting>,
    bytes: usize,
    news: BTreeMap<LaneName, News>,
}

/// A batch, as a turn takes it.
pub(super) type Batch = (Vec<Event>, Vec<u8>);

impl Mailbox {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.news.is_empty()
    }

    /// Events and bytes that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.body().len();
        self.queue.push_back(waiting);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn supported(&mut self, lane: LaneName, max_message: u32) {
        self.news.entry(lane).or_default().here = Some(max_message);
    }

    /// Purges what waits of the lane. A lane the plugin was never told of needs no farewell. Returns the requests that
    /// will not be handled.
    pub(super) fn unsupported(&mut self, lane: LaneName, told: bool) -> Vec<u64> {
        let (mut missed, mut requests) = (0, Vec::new());
        for waiting in &mut self.queue {
            match waiting {
                Waiting::Message(of, _) if *of == lane => missed += 1,
                Waiting::Request { lane: of, id, .. } if *of == lane => requests.push(*id),
                _ => continue,
            }
            self.bytes -= waiting.body().len();
            *waiting = Waiting::Nothing;
        }
        if !told {
            self.news.remove(&lane);
            return requests;
        }
        let news = self.news.entry(lane).or_default();
        news.missed += missed;
        (news.gone, news.here, news.congested) = (true, None, None);
        requests
    }

    pub(super) fn pressure(&mut self, lane: LaneName, congested: bool) {
        self.news.entry(lane).or_default().congested = Some(congested);
    }

    pub(super) fn undelivered(&mut self, lane: LaneName, messages: u64) {
        self.news.entry(lane).or_default().undelivered += messages;
    }

    /// A request or command needs no answer any more: one that still waits is dropped without a word.
    pub(super) fn withdraw(&mut self, id: u64) {
        let waits = |waiting: &&mut Waiting| match waiting {
            Waiting::Request { id: of, .. } | Waiting::Command { id: of, .. } => *of == id,
            _ => false,
        };
        match self.queue.iter_mut().find(waits) {
            Some(waiting) => {
                self.bytes -= waiting.body().len();
                *waiting = Waiting::Nothing;
            }
            None => self.push(Waiting::Withdrawn(id)),
        }
    }

    /// The news and what is queued, as much as one turn takes.
    pub(super) fn take(&mut self, most: usize, most_bytes: usize, told: impl Fn(&LaneName) -> bool) -> Batch {
        let (mut events, mut bodies) = (Vec::new(), Vec::new());
        while events.len() < most
            && let Some((lane, news)) = self.news.pop_first()
        {
            news.write(lane, told(&lane), &mut events);
        }
        if !self.news.is_empty() {
            return (events, bodies);
        }
        while events.len() < most
            && let Some(next) = self.queue.front()
        {
            let len = next.body().len();
            if !bodies.is_empty() && bodies.len() + len > most_bytes {
                break;
            }
            let Some(next) = self.queue.pop_front() else { break };
            self.bytes -= len;
            let body = Span { at: bodies.len() as u32, len: len as u32 };
            bodies.extend_from_slice(next.body());
            events.extend(next.event(body));
        }
        (events, bodies)
    }
}

impl Waiting {
    fn event(self, body: Span) -> Option<Event> {
        Some(match self {
            Self::Message((peer, protocol), _) => Event::Message(wire::Message { peer, protocol, body }),
            Self::Request { lane: (peer, protocol), id, timeout_ms, .. } => {
                Event::Request(wire::Request { peer, protocol, id, timeout_ms, body })
            }
            Self::Response(id, outcome) => Event::Response(wire::Response { id, outcome: outcome.map(|_| body) }),
            Self::Command { id, caller, name, timeout_ms, .. } => {
                Event::Command(wire::Command { id, caller, name, timeout_ms, body })
            }
            Self::Called(id, outcome) => Event::Called(wire::Called { id, outcome: outcome.map(|_| body) }),
            Self::Withdrawn(id) => Event::Withdrawn(id),
            Self::Timer(id) => Event::Timer(id),
            Self::Nothing => return None,
        })
    }
}

impl News {
    /// In order: what was lost, the farewell, the welcome. A lane heard of for the first time begins with the welcome.
    fn write(self, (peer, protocol): LaneName, told: bool, out: &mut Vec<Event>) {
        let welcome = self.here.map(|max_message| Event::PeerSupported(Reachable { peer, protocol, max_message }));
        let (early, late) = if told { (None, welcome) } else { (welcome, None) };
        let known = told || early.is_some();
        out.extend(early);
        if known && self.undelivered > 0 {
            out.push(Event::Undelivered(Count { peer, protocol, messages: self.undelivered }));
        }
        if known && self.missed > 0 {
            out.push(Event::Missed(Count { peer, protocol, messages: self.missed }));
        }
        if self.gone {
            out.push(Event::PeerUnsupported(Lane { peer, protocol }));
        }
        let present = late.is_some() || (known && !self.gone);
        out.extend(late);
        match self.congested.filter(|_| present) {
            Some(true) => out.push(Event::Congested(Lane { peer, protocol })),
            Some(false) => out.push(Event::Relieved(Lane { peer, protocol })),
            None => {}
        }
    }
}
