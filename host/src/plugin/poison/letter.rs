//! A dead letter: an event that failed alone, with all that is known about it.

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;
use crate::plugin::crash::CrashReport;
use crate::plugin::mailbox::{Batch, Caller, CommandHead, Item, Place};
use crate::protocol::{ProtocolId, RequestToken};

/// The event itself. News are none: the plugin could not go on without them. Nor are outcomes of its own asks and
/// calls: they die with the instance that waited for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum LetterEvent {
    /// A message of a peer.
    Message {
        /// Its sender.
        peer: PeerId,
        /// By which protocol.
        protocol: ProtocolId,
    },
    /// A request of a peer. The peer was refused when it became a dead letter.
    Request {
        /// Its sender.
        peer: PeerId,
        /// By which protocol.
        protocol: ProtocolId,
        /// How long the peer would have waited, in milliseconds.
        timeout_ms: u32,
    },
    /// A command. Its caller heard `plugin-crashed`.
    Command {
        /// What was called.
        command: String,
        /// `operator NAME` or `plugin NAME`.
        caller: Caller,
        /// How long the caller would have waited, in milliseconds.
        timeout_ms: u32,
    },
    /// A timer that fell due.
    Timer {
        /// As the plugin set it.
        timer: u64,
    },
}

/// See the module. Its body is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Names it among those of the plugin.
    pub id: u64,
    /// When it failed, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub event: LetterEvent,
    /// Length of its body, in bytes.
    pub bytes: u64,
    /// SHA-256 of its body in hexadecimal; the same for the same poison.
    pub sha256: String,
    /// False when it alone, with its body, is above what the plugin's dead letters may take: then it cannot be tried again.
    pub kept: bool,
    /// How often it was tried again.
    pub retries: u32,
    /// The failure: plugin, revision, trap message, place, backtrace with function names, next step.
    pub report: CrashReport,
}

impl LetterEvent {
    /// What an item becomes, if it can be a dead letter.
    pub(in crate::plugin) fn of(batch: &Batch, item: &Item) -> Option<Self> {
        let lane = |at: u32| batch.lanes.get(at as usize).cloned();
        match item {
            Item::Message { lane: at, .. } => lane(*at).map(|(peer, protocol)| Self::Message { peer, protocol }),
            Item::Request { lane: at, timeout_ms, .. } => {
                lane(*at).map(|(peer, protocol)| Self::Request { peer, protocol, timeout_ms: *timeout_ms })
            }
            Item::Command(head, _) => Some(Self::Command {
                command: head.name.clone(),
                caller: head.caller.clone(),
                timeout_ms: head.timeout_ms,
            }),
            Item::Timer(timer) => Some(Self::Timer { timer: *timer }),
            _ => None,
        }
    }

    /// The peer and protocol behind it.
    pub(in crate::plugin) fn lane(&self) -> Option<(PeerId, &ProtocolId)> {
        match self {
            Self::Message { peer, protocol } | Self::Request { peer, protocol, .. } => Some((*peer, protocol)),
            Self::Command { .. } | Self::Timer { .. } => None,
        }
    }

    /// A batch of the event alone, to be handled once more. Nobody waits for an answer to it any more; `id` is a fresh
    /// one for a command.
    pub(in crate::plugin) fn batch(&self, bodies: Vec<u8>, id: u64) -> Batch {
        let body = Place { at: 0, len: u32::try_from(bodies.len()).unwrap_or(u32::MAX) };
        let lanes = self.lane().map(|(peer, protocol)| (peer, protocol.clone())).into_iter().collect();
        let item = match self {
            Self::Message { .. } => Item::Message { lane: 0, body },
            // Tokens count from one, so nobody ever waits for this one.
            Self::Request { timeout_ms, .. } => {
                Item::Request { lane: 0, token: RequestToken(0), timeout_ms: *timeout_ms, body }
            }
            Self::Command { command, caller, timeout_ms } => {
                let (name, caller, timeout_ms) = (command.clone(), caller.clone(), *timeout_ms);
                Item::Command(Box::new(CommandHead { id, caller, name, timeout_ms }), body)
            }
            Self::Timer { timer } => Item::Timer(*timer),
        };
        Batch { items: vec![item], bodies, lanes }
    }
}
