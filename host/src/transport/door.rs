//! What becomes of a handshake before it begins, and how much of that is said. Pure.
//!
//! Invariants:
//! - from half of a limit on, a first packet gets a Retry: whoever forges addresses may fill one half and never the
//!   other, neither of the node nor of the source that it pretends to be;
//! - whoever is refused is counted under one cause, and so is whoever is let in and then not taken;
//! - of each cause one line is said in [`SAY_EVERY`], however many are refused.

use std::time::Duration;

use super::access::{AccessLists, Denied};
use super::source::Source;
use crate::reached::{Reached, Scope, names};

/// From how many pending handshakes on addresses must be proven, however high the limit is.
const RETRY_ABOVE: u32 = 64;
/// How long nothing more is said of a cause after a line about it: a flood of strangers must not be one of lines.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(10);

/// How many handshakes may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingLimits {
    /// In all.
    pub(super) all: u32,
    /// Of one source.
    pub(super) per_source: u32,
    /// Whether the machine itself counts as a source.
    pub(super) loopback: bool,
}

/// Who knocks, and how many others of its kind do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knock {
    /// From where.
    pub(super) from: std::net::SocketAddr,
    /// Whether it has proven that it is there.
    pub(super) proven: bool,
    /// Handshakes under way in all.
    pub(super) all: u32,
    /// Those of its source.
    pub(super) own: u32,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The handshake begins.
    LetIn,
    /// It must prove its address.
    Retry,
    /// It is left unanswered.
    Refused(Cause),
}

/// Why it is left unanswered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The operator's lists deny its address.
    Denied(Denied),
    /// All places for handshakes are taken.
    Node(Reached),
    /// All places for its source are taken.
    Source(Reached),
    /// It sends from a port that is known for reflection attacks.
    Port(u16),
}

/// The limits, and nothing else: who may begin a handshake.
pub(super) fn decide(limits: &PendingLimits, lists: &AccessLists, knock: &Knock) -> Verdict {
    if let Err(denied) = lists.check(None, knock.from) {
        return Verdict::Refused(Cause::Denied(denied));
    }
    let PendingLimits { all: most, per_source, loopback } = *limits;
    let source = Source::of(knock.from);
    let own = if source.is_loopback() && !loopback { 0 } else { knock.own };
    let what = names::HANDSHAKES;
    if knock.all >= most {
        let full = Reached::new(Scope::Node, what, knock.all as usize, most as usize);
        return Verdict::Refused(Cause::Node(full.key("limits.max_pending_handshakes", "dial again later, or raise")));
    }
    if !knock.proven && (knock.all >= RETRY_ABOVE.min(most.div_ceil(2)) || own >= per_source.div_ceil(2)) {
        return Verdict::Retry;
    }
    if own >= per_source {
        let full = Reached::new(Scope::Source, what, own as usize, per_source as usize);
        let full = Reached { of: Some(source.to_string()), ..full };
        return Verdict::Refused(Cause::Source(
            full.key("limits.max_pending_per_source", "dial again later, or raise"),
        ));
    }
    Verdict::LetIn
}

/// What became of all who knocked since the start. Every number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Handshakes that began.
    pub let_in: u64,
    /// First packets that were answered with a Retry.
    pub retried: u64,
    /// Left unanswered because the access lists deny the address.
    pub denied: u64,
    /// Left unanswered because all places for handshakes were taken.
    pub node_full: u64,
    /// Left unanswered because all places of their source were taken.
    pub source_full: u64,
    /// Left unanswered because of the port that they sent from.
    pub bad_port: u64,
    /// Handshakes that were over, and their connections closed at once because too many others waited to be taken.
    pub untaken: u64,
}

/// What was decided, and what of it was said.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) counts: DoorCounts,
    /// Of each cause.
    said: [Said; 4],
    said_untaken: Said,
}

/// When a line about a cause was said last, and how many there were since of which nothing was said.
#[derive(Debug, Default)]
struct Said(Option<(Duration, u64)>);

impl Said {
    /// Whether it is time for a line: how many of the kind had none, since the last one.
    fn again(&mut self, now: Duration) -> Option<u64> {
        match &mut self.0 {
            Some((last, unsaid)) if now < *last + SAY_EVERY => {
                *unsaid += 1;
                None
            }
            other => Some(other.replace((now, 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

impl Doors {
    /// Counts a verdict. When a refusal is to be said: how many of its kind were not, since the last that was.
    pub(super) fn note(&mut self, verdict: &Verdict, now: Duration) -> Option<u64> {
        let cause = match verdict {
            Verdict::LetIn => {
                self.counts.let_in += 1;
                return None;
            }
            Verdict::Retry => {
                self.counts.retried += 1;
                return None;
            }
            Verdict::Refused(cause) => cause,
        };
        let (count, said) = match cause {
            Cause::Denied(_) => (&mut self.counts.denied, &mut self.said[0]),
            Cause::Node(_) => (&mut self.counts.node_full, &mut self.said[1]),
            Cause::Source(_) => (&mut self.counts.source_full, &mut self.said[2]),
            Cause::Port(_) => (&mut self.counts.bad_port, &mut self.said[3]),
        };
        *count += 1;
        said.again(now)
    }

    /// Counts a connection that was closed because too many others wait to be taken. When that is to be said: how many
    /// were not, since the last that was.
    pub(super) fn note_untaken(&mut self, now: Duration) -> Option<u64> {
        self.counts.untaken += 1;
        self.said_untaken.again(now)
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
