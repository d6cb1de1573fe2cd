//! QUIC: endpoints, handshakes and streams. The only module that names s2n-quic.

mod link;
mod windows;

pub use link::{
    ControlStream, Direction, Link, LinkAcceptor, LinkError, LinkHandle, ReceiveStream, SendStream, StreamError,
};
pub use windows::{LimitsError, MemoryBound, MemoryDemand, MemoryTerm, StreamLimits, Windows};
