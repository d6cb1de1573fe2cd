//! How many peers, who goes when there are too many, and how long each step of a connection may take.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From the end of the handshake to the peer's hello, and again from there to its decision.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an older connection may stay silent when a newer one of the same peer asks for its place. Less than
/// [`HELLO_TIMEOUT`], or the newer one would give up before it is decided.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long streams may take to finish when a connection is closed deliberately.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the peer has to read a refusal before the connection is closed under it.
pub const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// How long one control write may be blocked by a peer that does not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a dial may take up to the end of the handshake. The transport has its own deadline; this one holds
/// even when that fails.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the dial of one address is given before the next address is dialed beside it (RFC 8305, section 8).
pub const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Most addresses one dial of a peer tries: what an operator and the peer itself may name, twice.
pub const MAX_RACE: usize = 64;

/// Inbound connections of one peer that are not decided yet: one more than a peer that redials needs, so that no
/// single key can take all of [`ConnectionLimits::max_pending`].
pub const MAX_PENDING_OF_PEER: usize = 2;

/// Longest protocol id that a hello may carry, in bytes.
pub const MAX_PROTOCOL_NAME: usize = 128;

/// What the node lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Peers with an admitted connection.
    pub max_peers: usize,
    /// Admitted connections of one peer; at least 1.
    pub connections_per_peer: usize,
    /// Places that ordinary peers who dial cannot take, so that this node always finds some for peers it dials. Less
    /// than `max_peers`.
    pub reserved_outbound: usize,
    /// Inbound connections that are authenticated and not yet admitted. Each may hold one control frame
    /// (256 KiB) until its deadline.
    pub max_pending: usize,
    /// Inbound connections of one [`Source`](crate::transport::Source), admitted or not. Necessary peers are let in
    /// beyond it.
    pub max_per_source: usize,
    /// Whether peers on this machine count as a source, too.
    pub limit_loopback: bool,
    /// Who goes when the node is full.
    pub eviction: Eviction,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_peers: 64,
            connections_per_peer: 1,
            reserved_outbound: 0,
            max_pending: 128,
            max_per_source: 32,
            limit_loopback: false,
            eviction: Eviction::default(),
        }
    }
}

impl ConnectionLimits {
    /// Connections that may drain beside those that hold a place: an eighth of these, and at least one. What drains has
    /// given its place to others, but still holds memory.
    pub fn draining_beside(places: usize) -> usize {
        (places / 8).max(1)
    }

    /// Connections that may carry traffic or drain at once.
    pub(super) fn most_connections(&self) -> usize {
        let places = self.max_peers * self.connections_per_peer;
        places + Self::draining_beside(places)
    }
}

/// Who goes when a peer comes and all places are taken. An ordinary peer never displaces a necessary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Eviction {
    /// An ordinary newcomer is refused. A necessary one displaces the newest ordinary peer, never a necessary one.
    #[default]
    Lifo,
    /// The oldest ordinary peer goes. Where there is none, a necessary newcomer displaces the oldest necessary peer.
    Fifo,
    /// Any ordinary peer goes. Where there is none, a necessary newcomer displaces any necessary peer.
    Random,
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifo => "lifo",
            Self::Fifo => "fifo",
            Self::Random => "random",
        })
    }
}
