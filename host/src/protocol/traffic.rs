//! What became of messages and asks, in numbers that only grow.
//!
//! Messages are counted by the batch, asks one by one: their table costs a lock each anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{AskError, AskReply, Inbound, Outgoing};

/// What became of messages and asks since the start.
///
/// What handlers sent is delivered by a peer, told as undelivered, unclaimed
/// ([`ProtocolStats::unclaimed`](super::ProtocolStats::unclaimed)) or under way. Some may be counted as delivered there
/// and as undelivered here: when the report of a peer does not come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficStats {
    /// Messages that handlers sent and nothing refused.
    pub accepted: u64,
    /// Messages of peers that handlers took.
    pub delivered: u64,
    /// Messages that handlers were told of as undelivered.
    pub undelivered: u64,
    /// Asks that ended with an answer.
    pub answered: u64,
    /// Asks that ended without one, whatever the reason; those that handlers cancelled are in neither number.
    pub failed: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    accepted: AtomicU64,
    delivered: AtomicU64,
    undelivered: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Traffic {
    pub(super) fn stats(&self) -> TrafficStats {
        let [accepted, delivered, undelivered, answered, failed] =
            [&self.accepted, &self.delivered, &self.undelivered, &self.answered, &self.failed]
                .map(|count| count.load(Ordering::Relaxed));
        TrafficStats { accepted, delivered, undelivered, answered, failed }
    }

    /// Before it is put on a lane, so that never more is undelivered than was accepted.
    pub(super) fn accepted(&self, what: &[Outgoing]) {
        let messages = what.iter().filter(|outgoing| matches!(outgoing, Outgoing::Message(_))).count();
        self.accepted.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// So many messages were taken by a handler.
    pub(super) fn delivered(&self, messages: u64) {
        self.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// A handler is about to be told.
    pub(super) fn undelivered(&self, messages: u64) {
        self.undelivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Ends an ask: every reply of one is called here.
    pub(super) fn end(&self, reply: AskReply, outcome: Result<Bytes, AskError>) {
        let count = if outcome.is_ok() { &self.answered } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        reply(outcome);
    }
}

/// How many messages are among what a peer sent.
pub(super) fn messages(items: &[Inbound]) -> u64 {
    items.iter().filter(|item| matches!(item, Inbound::Message(_))).count() as u64
}
