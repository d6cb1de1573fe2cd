//! What a turn takes out of the mailbox: items with their place in one shared list of bodies.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;
use crate::plugin::CallError;
use crate::protocol::{AskError, AskId, News, ProtocolId, RequestToken};

/// A piece of a batch's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::plugin) struct Place {
    pub(in crate::plugin) at: u32,
    pub(in crate::plugin) len: u32,
}

/// Who calls a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// An operator or app: the name of its token, `local` for the socket.
    Operator(String),
    /// Another plugin of this node.
    Plugin(String),
}

/// A command as it waits in the mailbox, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct CommandHead {
    pub(in crate::plugin) id: u64,
    pub(in crate::plugin) caller: Caller,
    pub(in crate::plugin) name: String,
    pub(in crate::plugin) timeout_ms: u32,
}

/// One event, before it is given the revision's keys. The rare large cases are boxed: a batch is mostly messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) enum Item {
    /// `lane` is the position in [`Batch::lanes`].
    Message {
        lane: u32,
        body: Place,
    },
    Request {
        lane: u32,
        token: RequestToken,
        timeout_ms: u32,
        body: Place,
    },
    Response {
        ask: AskId,
        outcome: Result<Place, Box<AskError>>,
    },
    Command(Box<CommandHead>, Place),
    Called {
        call: u64,
        outcome: Result<Place, Box<CallError>>,
    },
    News(Box<News>),
    /// A command that needs no answer any more.
    CommandWithdrawn(u64),
    Timer(u64),
    Stopping,
}

impl Item {
    /// Whether it carries what another plugin's turn said, which may not be on the disk yet.
    pub(in crate::plugin) fn tells_of_others(&self) -> bool {
        match self {
            Self::Called { .. } => true,
            Self::Command(head, _) => matches!(head.caller, Caller::Plugin(_)),
            _ => false,
        }
    }

    /// Where its body is, if it has one.
    pub(in crate::plugin) fn place(&self) -> Option<Place> {
        match self {
            Self::Message { body, .. }
            | Self::Request { body, .. }
            | Self::Command(_, body)
            | Self::Response { outcome: Ok(body), .. }
            | Self::Called { outcome: Ok(body), .. } => Some(*body),
            _ => None,
        }
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        match self {
            Self::Message { body, .. }
            | Self::Request { body, .. }
            | Self::Command(_, body)
            | Self::Response { outcome: Ok(body), .. }
            | Self::Called { outcome: Ok(body), .. } => Some(body),
            _ => None,
        }
    }

    /// The name of the event in reports.
    pub(in crate::plugin) fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Request { .. } => "request",
            Self::Response { .. } => "response",
            Self::Command(..) => "command",
            Self::Called { .. } => "called",
            Self::Timer(_) => "timer",
            Self::Stopping => "stopping",
            Self::CommandWithdrawn(_) => "withdrawn",
            Self::News(news) => match **news {
                News::Supported { .. } => "peer-supported",
                News::Unsupported { .. } => "peer-unsupported",
                News::Congested { .. } => "congested",
                News::Relieved { .. } => "relieved",
                News::Undelivered { .. } => "undelivered",
                News::Missed { .. } => "missed",
                News::Withdrawn(_) => "withdrawn",
            },
        }
    }
}

/// What one turn handles, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::plugin) struct Batch {
    pub(in crate::plugin) items: Vec<Item>,
    pub(in crate::plugin) bodies: Vec<u8>,
    pub(in crate::plugin) lanes: Vec<(PeerId, ProtocolId)>,
}

impl Batch {
    pub(in crate::plugin) fn body(&self, place: Place) -> &[u8] {
        let start = place.at as usize;
        self.bodies.get(start..start + place.len as usize).unwrap_or_default()
    }

    /// A batch of the items at those of these positions that are wanted, with their bodies alone.
    pub(in crate::plugin) fn part(&self, positions: Range<usize>, wanted: impl Fn(usize) -> bool) -> Self {
        let wanted = positions.filter(|at| wanted(*at));
        let mut items: Vec<_> = wanted.filter_map(|at| self.items.get(at)).cloned().collect();
        let places = || self.items.iter().filter_map(Item::place);
        debug_assert!(places().is_sorted_by_key(|place| place.at), "bodies lie in the order of their items");
        let start = items.iter().filter_map(Item::place).map(|place| place.at).min().unwrap_or(0);
        let end = items.iter().filter_map(Item::place).map(|place| place.at + place.len).max().unwrap_or(start);
        for place in items.iter_mut().filter_map(Item::place_mut) {
            place.at -= start;
        }
        let bodies = self.bodies.get(start as usize..end as usize).unwrap_or_default().to_vec();
        Self { items, bodies, lanes: self.lanes.clone() }
    }

    /// The peer behind an item.
    pub(in crate::plugin) fn peer(&self, item: &Item) -> Option<PeerId> {
        match item {
            Item::Message { lane, .. } | Item::Request { lane, .. } => {
                self.lanes.get(*lane as usize).map(|(peer, _)| *peer)
            }
            Item::News(news) => match **news {
                News::Supported { peer, .. }
                | News::Unsupported { peer, .. }
                | News::Congested { peer, .. }
                | News::Relieved { peer, .. }
                | News::Undelivered { peer, .. }
                | News::Missed { peer, .. } => Some(peer),
                News::Withdrawn(_) => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_its_own_bodies_and_no_others() {
        let message = |at, len| Item::Message { lane: 0, body: Place { at, len } };
        let items = vec![message(0, 2), Item::Timer(7), message(2, 3), message(5, 1)];
        let lanes = vec![(PeerId::from_bytes([1; 32]), "/a/1".parse().expect("an id"))];
        let batch = Batch { items, bodies: b"aabbbc".to_vec(), lanes: lanes.clone() };
        let part = batch.part(1..3, |_| true);
        assert_eq!(part, Batch { items: vec![Item::Timer(7), message(0, 3)], bodies: b"bbb".to_vec(), lanes });
        let last = batch.part(0..4, |at| at > 1);
        assert_eq!((last.bodies.as_slice(), last.items.len()), (&b"bbbc"[..], 2));
        assert_eq!(batch.part(1..2, |_| true).bodies, b"");
    }
}
