//! How many peers, and how long each step of a connection may take.

use std::time::Duration;

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
pub(super) const MAX_PENDING_OF_PEER: usize = 2;

/// Longest protocol id that a hello may carry, in bytes.
pub(super) const MAX_PROTOCOL_NAME: usize = 128;

/// What the node lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Peers with an admitted connection.
    pub max_peers: usize,
    /// Inbound connections that are authenticated and not yet admitted. Each may hold one control frame
    /// (256 KiB) until its deadline.
    pub max_pending: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_peers: 64, max_pending: 128 }
    }
}
