//! QUIC: endpoints, handshakes and streams. The only module that names s2n-quic and rustls.
//!
//! A [`Transport`] listens and dials. What comes out of either is a [`Link`]: a connection whose peer has proven
//! its key before a byte of ours went to it. Everything above works on links and streams and knows nothing of QUIC's
//! packets, TLS or sockets.

mod access;
mod admission;
mod dials;
mod door;
mod endpoint;
mod error;
mod events;
mod incoming;
mod link;
mod pending;
#[cfg(feature = "simulation")]
mod simulated;
mod source;
mod start;
mod tls;
mod windows;

#[cfg(test)]
#[expect(dead_code, reason = "other parts of it are for the tests of whole nodes, in `tests/`")]
pub(crate) mod relay;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessEntry, AccessEntryError, AccessLists, Denied, MAX_ACCESS_ENTRIES};
pub use door::DoorCounts;
pub use endpoint::{Io, Transport, TransportConfig};
pub use error::{BindError, DialError};
pub use incoming::{Incoming, MAX_UNTAKEN};
pub use link::{
    ControlStream, Direction, Link, LinkAcceptor, LinkError, LinkHandle, MAX_READ, READ_CHUNK, READ_CHUNKS,
    ReceiveStream, SendStream, StreamError,
};
pub use pending::PendingHandshakes;
pub use source::Source;
pub use windows::{
    CONTROL_WINDOW, LimitsError, MAX_CHUNK, MAX_PACKET, MemoryBound, MemoryDemand, MemoryTerm, READER_BUFFER,
    RECEIVE_BUFFER, StreamLimits, Windows,
};
