//! Admitted connections: who is connected, by which of several connections, and the control stream of each.

mod handle;

pub use handle::{ConnectionHandle, ConnectionId, ControlSender};

use crate::peer::PeerId;
use crate::transport::LinkAcceptor;
use crate::wire::{Control, Hello};

/// News from the connections, in order per connection. Whoever takes it must not wait for anything else.
#[derive(Debug)]
pub enum ConnectionEvent {
    /// Both sides said `admitted`: traffic may flow. First of its connection.
    Up {
        /// The connection.
        connection: ConnectionHandle,
        /// What the peer said first; its version and caps are checked.
        hello: Hello,
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
        /// Why, for people.
        reason: String,
        /// Whether the peer has no admitted connection any more.
        last: bool,
    },
}
