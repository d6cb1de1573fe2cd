//! Admitted connections: who is connected, by which of several connections, and the control stream of each.
//!
//! [`ConnectionManager`] is the handle. Behind it one actor owns the pure state (`state.rs`), each connection has
//! one task that reads its control stream and one that writes it, and each dial has a task.

mod actor;
mod alive;
mod failure;
mod handle;
mod limits;
mod manager;
mod refusal;
mod room;
mod route;
mod state;
mod task;
mod teller;
#[cfg(test)]
mod tests;

pub use alive::AlivePolicy;
pub use failure::DialFailure;
pub use handle::{ConnectionHandle, ConnectionId, ControlSender};
pub use limits::{
    ConnectionLimits, DIAL_TIMEOUT, DRAIN_TIMEOUT, Eviction, HELLO_TIMEOUT, MAX_PENDING_OF_PEER, MAX_PROTOCOL_NAME,
    MAX_RACE, NEXT_ADDRESS, PROBE_TIMEOUT, REFUSAL_LINGER, WRITE_TIMEOUT,
};
pub use manager::{AddressSource, ConnectionConfig, ConnectionManager, ConnectionStatus, ManagerStatus, PeerStatus};
pub use refusal::{Named, Refusal};
pub use route::Route;
pub use state::ConnectionCounts;

use crate::peer::PeerId;
use crate::transport::{LinkAcceptor, LinkError};
use crate::wire::{AddressRecord, Control, Hello, ProtocolEntry};

/// How a peer ranks when places are short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Has to go when another peer needs its place; see [`Eviction`].
    #[default]
    Ordinary,
    /// One the supervisor keeps connected: displaced by another necessary one at most.
    Necessary,
}

/// What the layer above puts into this node's hello.
pub trait LocalHello: Send + Sync + 'static {
    /// The sequence of the protocol set and the whole set, as of now. Called at the moment a hello is sent; the
    /// sequence comes back with [`ConnectionEvent::Up`], so that every later change can be pushed.
    fn protocols(&self) -> (u64, Vec<ProtocolEntry>);
}

/// News from the connections, in order per connection. Whoever takes it must not wait for anything else.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an event is moved twice; a box for `Up` would only be unpacked at once")]
pub enum ConnectionEvent {
    /// Both sides said `admitted`: traffic may flow. First of its connection.
    Up {
        /// The connection.
        connection: ConnectionHandle,
        /// What the peer said first; its version and caps are checked.
        hello: Hello,
        /// Where the peer says it listens, when its hello carried a record that it signed and that is still valid.
        address: Option<AddressRecord>,
        /// The sequence of the protocol set that this node's own hello carried on this connection: changes after
        /// it are to be pushed.
        sent_sequence: u64,
        /// For the peer's data streams.
        acceptor: LinkAcceptor,
        /// Whether the peer had no admitted connection before.
        first: bool,
    },
    /// A control message that is not for this layer: `Protocols`, `ProtocolsApplied`, `Abandon`,
    /// `StreamProgress`, `StreamEnded`.
    Control {
        /// Where it came.
        connection: ConnectionId,
        /// From whom.
        peer: PeerId,
        /// What.
        message: Control,
    },
    /// A deliberate close has begun, by either side: finish what is open, open nothing more. When everything is
    /// finished and read, answer with `ConnectionHandle::drained`.
    Draining {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        peer: PeerId,
    },
    /// The connection is gone. Last of its connection.
    Down {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        peer: PeerId,
        /// Why.
        cause: LinkError,
        /// Why, for people.
        reason: String,
        /// Whether the peer has no admitted connection any more.
        last: bool,
    },
}
