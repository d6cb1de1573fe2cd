//! Why a dial did not end in an admitted connection.

use std::net::SocketAddr;

use super::Refusal;
use crate::peer::PeerId;
use crate::transport::LinkError;
use crate::wire::CloseCode;

/// Why a dial did not end in an admitted connection. The text completes "failed to connect: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// The peer has an admitted connection.
    #[error("the peer is connected already")]
    AlreadyConnected,
    /// One more connection was wanted, and there is none.
    #[error("the peer is not connected")]
    NotConnected,
    /// One more connection was wanted, and nobody has said where the peer listens.
    #[error("no address of the peer is known: it dialed this node and its hello named none")]
    NoAddress,
    /// Another key answered at the address.
    #[error(
        "at {address} answers {found}, not {expected}; if the node got a new key, remove the old peer and add the new one"
    )]
    WrongPeer {
        /// What was dialed.
        address: SocketAddr,
        /// Who should be there.
        expected: PeerId,
        /// Who is.
        found: PeerId,
    },
    /// No answer in time: the handshake, the hello or the decision.
    #[error("no answer in time; is the node running, and does a firewall let UDP through?")]
    Timeout,
    /// Several addresses, and none of them led to the peer.
    #[error("{}", each(.0))]
    Addresses(Vec<(SocketAddr, DialFailure)>),
    /// The handshake failed.
    #[error("{0}")]
    Handshake(String),
    /// The peer refused or closed.
    #[error("the peer refused: {reason}")]
    Refused {
        /// Why.
        code: CloseCode,
        /// The peer's own words.
        reason: String,
    },
    /// This node refused or closed.
    #[error("this node refused: {refusal}")]
    NotAdmitted {
        /// Why.
        code: CloseCode,
        /// Scope, limit and value.
        refusal: Box<Refusal>,
    },
    /// The connection broke before both sides had admitted it.
    #[error("lost before it was admitted: {0}")]
    Lost(LinkError),
    /// The node stops.
    #[error("this node is stopping")]
    Stopping,
}

/// The failures of all addresses in one line; those that failed alike stand together.
fn each(failures: &[(SocketAddr, DialFailure)]) -> String {
    let mut alike: Vec<(String, Vec<String>)> = Vec::new();
    for (address, failure) in failures {
        let text = failure.to_string();
        match alike.iter_mut().find(|(known, _)| *known == text) {
            Some((_, addresses)) => addresses.push(address.to_string()),
            None => alike.push((text, vec![address.to_string()])),
        }
    }
    let parts: Vec<String> = alike.into_iter().map(|(text, at)| format!("{}: {text}", at.join(", "))).collect();
    if parts.is_empty() { "no address of the peer is known".into() } else { parts.join("; ") }
}

impl DialFailure {
    /// A refusal by this node with the code's own words.
    pub(super) fn local(code: CloseCode) -> Self {
        Self::refused_here(Refusal::Code(code))
    }

    /// A refusal by this node.
    pub(super) fn refused_here(refusal: impl Into<Refusal>) -> Self {
        let refusal = refusal.into();
        match refusal.code() {
            CloseCode::HelloTimeout => Self::Timeout,
            CloseCode::Shutdown => Self::Stopping,
            code => Self::NotAdmitted { code, refusal: Box::new(refusal) },
        }
    }
}

impl From<LinkError> for DialFailure {
    fn from(cause: LinkError) -> Self {
        match cause {
            LinkError::Closed { code, local: false } => Self::Refused { code, reason: code.to_string() },
            LinkError::Closed { code, local: true } => Self::local(code),
            LinkError::TimedOut => Self::Timeout,
            other => Self::Lost(other),
        }
    }
}
