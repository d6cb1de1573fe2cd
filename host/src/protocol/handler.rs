//! The one trait behind which native handlers and plugins are equals.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::ProtocolId;
use crate::peer::PeerId;

/// Names an unanswered request of a peer; never used twice within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// One thing that came from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Needs no answer.
    Message(Bytes),
    /// To be answered with [`super::Network::respond`], within `timeout`.
    Request {
        /// Names it in the answer.
        token: RequestToken,
        /// How long the asker waits.
        timeout: Duration,
        /// What is asked.
        body: Bytes,
    },
}

impl Inbound {
    /// What it carries.
    pub fn body(&self) -> &Bytes {
        let (Self::Message(body) | Self::Request { body, .. }) = self;
        body
    }
}

/// What one read of one receive stream brought, in order. Bodies are slices of the chunk they came in:
/// copy a small one that is kept for long, or it pins up to 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InBatch {
    /// From whom.
    pub peer: PeerId,
    /// By which protocol.
    pub protocol: ProtocolId,
    /// At least one.
    pub items: Vec<Inbound>,
}

/// Control news: never queued up behind messages, coalesced by whoever takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The peer is admitted and supports the protocol. Told before its first message, and in turn with
    /// `Unsupported`.
    Supported {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
        /// The smaller of both sides' limits, in bytes.
        max_message: u32,
    },
    /// No longer. Nothing of this peer and protocol is delivered after it, until it is supported again.
    Unsupported {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
    },
    /// The lane is above its soft limit.
    Congested {
        /// To whom.
        peer: PeerId,
        /// By what.
        protocol: ProtocolId,
    },
    /// The lane is below half of its soft limit again.
    Relieved {
        /// To whom.
        peer: PeerId,
        /// By what.
        protocol: ProtocolId,
    },
    /// Accepted messages of ours that can no longer arrive; an upper bound.
    Undelivered {
        /// To whom.
        peer: PeerId,
        /// By what.
        protocol: ProtocolId,
        /// How many, since the last such news.
        messages: u64,
    },
    /// Messages of theirs that the handler will never see.
    Missed {
        /// From whom.
        peer: PeerId,
        /// By what.
        protocol: ProtocolId,
        /// How many, since the last such news.
        messages: u64,
    },
    /// This request needs no answer any more: it timed out, was withdrawn, or its peer is gone.
    Withdrawn(RequestToken),
}

/// Why a handler does not take a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It takes nothing any more.
    #[error("the handler is gone")]
    Gone,
    /// It takes nothing from this peer by this protocol for so long: the stream is stopped as muted, and requests in the
    /// batch are refused with the code `muted`.
    #[error("the peer is muted for {} s", .0.as_secs())]
    Muted(Duration),
}

/// What [`Handler::deliver`] returns.
pub type Delivered<'a> = Pin<Box<dyn Future<Output = Result<(), NotTaken>> + Send + 'a>>;

/// Takes what arrives for a protocol.
///
/// The calls for one peer and protocol come one after the other and in order; those for different
/// peers or protocols come at the same time.
pub trait Handler: Send + Sync + 'static {
    /// Takes the batch when that needs no waiting, or gives it back: [`Handler::deliver`] follows with a copy. Whoever
    /// does not implement this is asked to wait at once, and pays for the copy.
    ///
    /// # Errors
    /// The batch, whole.
    fn try_deliver(&self, batch: InBatch) -> Result<(), InBatch> {
        Err(batch)
    }

    /// Takes the batch, or waits while there is no room: the stream is not read meanwhile, and its sender
    /// feels it through QUIC's flow control.
    ///
    /// When the future is dropped before it is ready, nothing of the batch was taken.
    ///
    /// # Errors
    /// [`NotTaken::Gone`] when it will never take anything again, [`NotTaken::Muted`] when it will for a while not take
    /// anything of this peer.
    fn deliver(&self, batch: InBatch) -> Delivered<'_>;

    /// Takes news. Must not wait and must not call back into the node.
    fn news(&self, news: News);

    /// Another handler serves the protocol from now on. What this one has taken stays with it; nothing more of the
    /// protocol is delivered and no news of it come: after what was taken, every peer counts as unsupported. Must not
    /// wait and must not call back into the node.
    fn taken_over(&self, protocol: &ProtocolId) {
        let _ = protocol;
    }
}
