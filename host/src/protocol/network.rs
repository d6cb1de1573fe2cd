//! What a handler can do: the node as seen from above.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::{Handler, MAX_ASKS, ProtocolId, RequestToken};
use crate::peer::PeerId;
use crate::wire::Failure;

use std::sync::Arc;

/// In what order the messages of one protocol to one peer arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// First in, first out.
    #[default]
    Ordered,
    /// Several streams at once.
    Unordered,
}

/// A protocol as its handler registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolSpec {
    /// `/name/version`.
    pub id: ProtocolId,
    /// Order of messages.
    pub delivery: Delivery,
    /// Largest body in bytes, in either direction; at most [`crate::wire::DEFAULT_MAX_MESSAGE`].
    pub max_message: u32,
}

/// Names an unanswered request of ours; never used twice within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Why something cannot be sent to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No admitted connection to the peer.
    #[error("not connected to the peer")]
    NotConnected,
    /// The peer has no handler for the protocol.
    #[error("the peer does not support the protocol")]
    Unsupported,
    /// The lane is full; `Relieved` follows.
    #[error("the lane to the peer is full")]
    Busy,
    /// Larger than one of both sides allows.
    #[error("the message is larger than the protocol's limit")]
    TooLarge,
    /// The node stops, or the protocol is not registered here.
    #[error("the node or the protocol is closed")]
    Closed,
}

/// How an ask ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The peer went before it answered.
    #[error("not connected to the peer")]
    NotConnected,
    /// The peer unregistered the protocol before it answered.
    #[error("the peer does not support the protocol")]
    Unsupported,
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The peer's or our own limit of open requests is reached, or the request does not fit the lane.
    #[error("too many open requests (this node has at most {MAX_ASKS}), or the lane to the peer is full")]
    Busy,
    /// The peer answered with a failure.
    #[error("refused: {} ({})", .0.message, .0.code)]
    Refused(Failure),
    /// The node stops.
    #[error("the node is stopping")]
    Closed,
}

/// Called once with the outcome of an ask. Must not wait.
pub type AskReply = Box<dyn FnOnce(Result<Bytes, AskError>) + Send>;

/// What leaves the node on one lane.
pub enum Outgoing {
    /// A message.
    Message(Bytes),
    /// A request; the outcome goes to `reply`, exactly once, whatever happens.
    Ask {
        /// From [`Network::next_ask`].
        id: AskId,
        /// How long to wait for the answer.
        timeout: Duration,
        /// What is asked.
        body: Bytes,
        /// Who wants to know.
        reply: AskReply,
    },
}

/// A lane as a sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneStatus {
    /// Bytes of bodies that it takes below its soft limit; above it, sends are refused as busy. A sender that
    /// checked this and goes above it with its last message (or with one turn) still fits below the hard limit.
    pub room: usize,
    /// Bytes that all lanes of the protocol's owner take together, this one among them. Whoever sends on several
    /// before it commits counts what it sends on all of them against this.
    pub shared: usize,
    /// The smaller of both sides' limits for one body, in bytes.
    pub max_message: u32,
}

/// A peer that can be reached by a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reachable {
    /// Who.
    pub peer: PeerId,
    /// The smaller of both sides' limits for one body, in bytes.
    pub max_message: u32,
}

/// Why a protocol was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another handler has it.
    #[error("protocol {id} is already registered by {owner}; unload that handler first")]
    Taken {
        /// The protocol.
        id: ProtocolId,
        /// Who has it.
        owner: String,
    },
    /// The set is full.
    #[error("the node has {limit} protocols registered, the most a set may hold")]
    TooMany {
        /// The most.
        limit: usize,
    },
    /// Too many others have registered something: each may queue for its peers.
    #[error(
        "{limit} plugins and native handlers have protocols registered; raise `plugins.max_plugins` or \
         `limits.native_handlers`"
    )]
    TooManyOwners {
        /// The most.
        limit: usize,
    },
    /// The largest message is above what the node allows.
    #[error("protocol {id} asks for messages of {asked} bytes; the limit is {limit}")]
    TooLarge {
        /// The protocol.
        id: ProtocolId,
        /// What was asked for, in bytes.
        asked: u32,
        /// The most, in bytes.
        limit: u32,
    },
    /// The node stops.
    #[error("the node is stopping")]
    Closed,
}

/// The node from above: what plugins and native handlers use. No call waits but [`Network::settled`].
pub trait Network: Send + Sync + 'static {
    /// The node's own id.
    fn node(&self) -> PeerId;

    /// Whether the peer can be reached by the protocol, and how much fits.
    ///
    /// # Errors
    /// `NotConnected`, `Unsupported` or `Closed`.
    fn lane(&self, to: &PeerId, protocol: &ProtocolId) -> Result<LaneStatus, SendError>;

    /// Puts everything on the lane, in order. What can no longer arrive is told as [`super::News::Undelivered`]
    /// to the protocol's handler, and to the reply of an ask. The caller has looked at [`Network::lane`] before:
    /// at most one turn's worth may go above the soft limit; what goes above the hard limit is undelivered.
    fn commit(&self, to: &PeerId, protocol: &ProtocolId, what: Vec<Outgoing>);

    /// Whoever found the lane too full asks to be told: `Relieved` follows as soon as it is below half of its soft
    /// limit, at once if it is already, unless the peer goes first.
    fn wants_room(&self, to: &PeerId, protocol: &ProtocolId);

    /// Checks and sends one message.
    ///
    /// # Errors
    /// Why it cannot be sent. Nothing was queued then.
    fn send(&self, to: &PeerId, protocol: &ProtocolId, body: Bytes) -> Result<(), SendError> {
        let lane = self.lane(to, protocol)?;
        if body.len() > lane.max_message as usize {
            return Err(SendError::TooLarge);
        }
        if lane.room == 0 {
            self.wants_room(to, protocol);
            return Err(SendError::Busy);
        }
        self.commit(to, protocol, vec![Outgoing::Message(body)]);
        Ok(())
    }

    /// Ready when everything that this protocol had committed was handed over at its peers or is lost: what a handler
    /// waits for, with a deadline, before it unregisters with its last words on the way.
    fn settled<'a>(&'a self, protocol: &'a ProtocolId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// A number for an ask that will be committed, or never.
    fn next_ask(&self) -> AskId;

    /// Forgets an ask: its reply is dropped without a call, and the peer is told that no answer is wanted.
    fn cancel(&self, ask: AskId);

    /// Whether somebody still waits for the answer to this request.
    fn awaits(&self, request: RequestToken) -> bool;

    /// Answers a request. Always fits: open requests are limited instead, and a peer that leaves more than two hard
    /// limits of answers unread hears `busy` in their place. False when nobody waits any more.
    fn respond(&self, request: RequestToken, outcome: Result<Bytes, Failure>) -> bool;

    /// Answers several, in order: what goes to one peer leaves together.
    fn respond_all(&self, answers: Vec<(RequestToken, Result<Bytes, Failure>)>) {
        for (request, outcome) in answers {
            self.respond(request, outcome);
        }
    }

    /// Registers a protocol for the handler that `owner` names, and tells every peer. The handler hears
    /// `Supported` for every peer that is there, from within this call or soon after.
    ///
    /// # Errors
    /// Why it is not registered. Nothing has changed then.
    fn register(&self, spec: ProtocolSpec, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError>;

    /// Hands a registered protocol to another handler without telling any peer: the registration number and all
    /// streams stay; what the old one has not taken goes to the new one, which hears `Supported` for everyone, and
    /// nothing is lost. The old one keeps what it has taken and hears [`Handler::taken_over`]. `max_message` and
    /// `delivery` of the registration stay as they are.
    ///
    /// # Errors
    /// [`RegisterError::Closed`] when it is not registered.
    fn replace(&self, id: &ProtocolId, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError>;

    /// Unregisters a protocol and tells every peer. The handler hears `Unsupported` for every peer. Streams that
    /// peers had open for it are stopped with a code, and the number is never used again.
    fn unregister(&self, id: &ProtocolId);

    /// Everybody who supports the protocol.
    fn reachable(&self, protocol: &ProtocolId) -> Vec<Reachable>;

    /// Whether the id is registered here, and by whom.
    fn owner(&self, protocol: &ProtocolId) -> Option<String>;
}
