//! What a turn takes out of the mailbox: items with their place in one shared list of bodies.

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// A batch of one of the items, with its body alone.
    pub(in crate::plugin) fn single(&self, item: &Item) -> Self {
        let mut item = item.clone();
        let mut single = Self::default();
        match &mut item {
            Item::Message { lane, .. } | Item::Request { lane, .. } => {
                single.lanes.extend(self.lanes.get(*lane as usize).cloned());
                *lane = 0;
            }
            _ => {}
        }
        match &mut item {
            Item::Message { body, .. }
            | Item::Request { body, .. }
            | Item::Command(_, body)
            | Item::Response { outcome: Ok(body), .. }
            | Item::Called { outcome: Ok(body), .. } => {
                single.bodies = self.body(*body).to_vec();
                body.at = 0;
            }
            _ => {}
        }
        single.items.push(item);
        single
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
