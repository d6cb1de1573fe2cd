//! What nodes say to each other, byte for byte. Pure: no I/O, no clock, no panic on any input.
//!
//! `docs/wire.md` is the same in prose, for whoever writes another implementation.

mod address;
mod codes;
mod control;
mod failure;
mod frame;
mod frame_writer;
mod header;
mod varint;

pub use address::{AddressRecord, MAX_ADDRESSES, SignedAddressRecord};
pub use codes::{CloseCode, StopCode, StreamOutcome};
pub use control::{
    Control, ControlDecoder, Hello, MAX_CONTROL_FRAME, MAX_PROTOCOLS, MAX_REASON, ProtocolEntry, SetChange,
    encode_control,
};
pub use failure::{Failure, MAX_FAILURE};
pub use frame::{FRAME_OVERHEAD, Frame, FrameDecoder, FrameKind, SMALL_FRAME};
pub use frame_writer::FrameWriter;
pub use header::{HeaderDecoder, MAX_HEADER, StreamHeader};

/// The version of everything in this module. It stands in the hello; a different one is refused.
pub const WIRE_VERSION: u16 = 1;

/// The application protocol both sides name in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"weir/1";

/// Largest body of a frame unless a protocol names a smaller one, in bytes.
pub const DEFAULT_MAX_MESSAGE: u32 = 1 << 20;

/// What makes a peer's bytes unacceptable. Every case ends the stream or the connection it came on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length runs over ten bytes or 64 bits.
    #[error("a varint is longer than 64 bits")]
    Varint,
    /// A length above what this place allows.
    #[error("{what} of {length} bytes; the limit is {limit}")]
    TooLong {
        /// What claims the length.
        what: &'static str,
        /// The claimed length in bytes.
        length: u64,
        /// The largest allowed length in bytes.
        limit: u64,
    },
    /// The bytes do not decode as what must stand here.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A frame kind that this version does not know.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The stream ended inside a frame or a header.
    #[error("the stream ended inside {0}")]
    Truncated(&'static str),
}
