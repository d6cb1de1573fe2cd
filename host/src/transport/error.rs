//! Why a transport could not start and why a dial failed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::start::StartError;
use super::windows::LimitsError;
use crate::peer::{PeerAddr, PeerId};

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system does not give the address.
    #[error("failed to listen on {address} (UDP): {}", listening(.source))]
    Address {
        /// Where to listen.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The stream limits cannot be used.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Connections would time out between two keep-alives.
    #[error(
        "keep_alive is {keep_alive:?} and idle_timeout is {idle_timeout:?}: connections would end between two \
         keep-alives; make keep_alive at most half of idle_timeout"
    )]
    KeepAlive {
        /// The configured period.
        keep_alive: Duration,
        /// The configured timeout.
        idle_timeout: Duration,
    },
    /// No peer could ever connect.
    #[error("max_pending_handshakes or max_pending_per_source is 0; it must be at least 1")]
    NoHandshakes,
    /// QUIC or TLS does not take the configuration.
    #[error("failed to start QUIC on {address}: {reason}")]
    Quic {
        /// Where to listen.
        address: SocketAddr,
        /// What was wrong.
        reason: String,
    },
}

impl BindError {
    pub(super) fn at(address: SocketAddr) -> impl Fn(StartError) -> Self {
        move |error| match error {
            StartError::Socket(source) => Self::Address { address, source },
            StartError::Endpoint(reason) => Self::Quic { address, reason },
        }
    }
}

fn listening(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another program has this port; stop it, or listen on another port".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; 0.0.0.0 or [::] means all it has".into(),
        io::ErrorKind::PermissionDenied => format!("{source}; ports below 1024 are for privileged programs"),
        _ => source.to_string(),
    }
}

/// Why there is no link to a peer.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Another key answered than was dialed. Nothing of this node was shown to it.
    #[error(
        "{address} answered with the key {found}, not with the expected {expected}: another node listens there, or \
         the node has a new key"
    )]
    WrongPeer {
        /// Whose key was expected.
        expected: PeerId,
        /// Whose key was shown.
        found: PeerId,
        /// Where.
        address: SocketAddr,
    },
    /// A node has no connection to itself.
    #[error("{0} is this node itself")]
    OwnId(PeerAddr),
    /// Nobody can listen there.
    #[error("{to} cannot be dialed: {reason}")]
    Address {
        /// What was dialed.
        to: PeerAddr,
        /// What is wrong with the address.
        reason: &'static str,
    },
    /// No handshake within the deadline. Nobody listens there, something drops UDP between, the node there is full,
    /// or it speaks another protocol: s2n-quic leaves a first packet that it cannot agree with unanswered.
    #[error(
        "no answer from {to} within {after:?}: is the node running, is the address right, is UDP let through, does it \
         run a version that fits?"
    )]
    Timeout {
        /// What was dialed.
        to: PeerAddr,
        /// The deadline.
        after: Duration,
    },
    /// What answered is no Weir node of this version, or broke off the handshake.
    #[error("the handshake with {to} failed: {reason}")]
    Refused {
        /// What was dialed.
        to: PeerAddr,
        /// Why.
        reason: String,
    },
    /// This node could not open a socket for dialing.
    #[error("failed to open a UDP socket to dial {to}: {reason}")]
    Socket {
        /// What was dialed.
        to: PeerAddr,
        /// What the operating system or QUIC said.
        reason: String,
    },
    /// The transport was closed.
    #[error("the node is stopping")]
    Closing,
}
