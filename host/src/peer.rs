//! Who a peer is and where it may be reached.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A peer's Ed25519 public key: 32 bytes, written as 64 lowercase hexadecimal digits.
///
/// The order is the order of the bytes; the tie-break of simultaneous dials uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// Takes the 32 bytes of a public key as they are; whether a curve point stands behind them is
    /// found out by the TLS handshake.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten digits: enough for a person to tell peers apart in a log, not to trust one.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

/// Why a text is no peer id or no peer address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeerError {
    /// Not 64 hexadecimal digits.
    #[error("`{0}` is no peer id: it takes 64 hexadecimal digits, as `weir init` prints them")]
    Id(String),
    /// No `@` between the id and the address.
    #[error("`{0}` is no peer address: write PEER_ID@IP:PORT")]
    Form(String),
    /// What follows the `@` is no socket address.
    #[error("`{0}` is no socket address: write IP:PORT, for instance 192.0.2.7:4433 or [2001:db8::1]:4433")]
    Socket(String),
}

impl FromStr for PeerId {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePeerError::Id(text.chars().take(80).collect());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or_else(wrong)?;
            let low = (pair[1] as char).to_digit(16).ok_or_else(wrong)?;
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for PeerId {
    type Error = ParsePeerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PeerId> for String {
    fn from(peer: PeerId) -> Self {
        peer.to_string()
    }
}

/// A peer and one address to dial it at, written `PEER_ID@IP:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddr {
    /// Whose key must answer there.
    pub peer: PeerId,
    /// Where its node listens (UDP).
    pub address: SocketAddr,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.peer, self.address)
    }
}

impl FromStr for PeerAddr {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (peer, address) =
            text.split_once('@').ok_or_else(|| ParsePeerError::Form(text.chars().take(160).collect()))?;
        let socket = || ParsePeerError::Socket(address.chars().take(80).collect());
        Ok(Self { peer: peer.parse()?, address: address.parse().map_err(|_| socket())? })
    }
}

impl TryFrom<String> for PeerAddr {
    type Error = ParsePeerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PeerAddr> for String {
    fn from(address: PeerAddr) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_address_survives_its_text() {
        let text = format!("{}@[2001:db8::1]:4433", "0a".repeat(32));
        assert_eq!(text.parse::<PeerAddr>().map(|a| a.to_string()), Ok(text));
    }

    #[test]
    fn a_wrong_text_is_told_apart() {
        assert!(matches!("zz".repeat(32).parse::<PeerId>(), Err(ParsePeerError::Id(_))));
        assert!(matches!("é".repeat(32).parse::<PeerId>(), Err(ParsePeerError::Id(_))));
        assert!(matches!("abc".parse::<PeerAddr>(), Err(ParsePeerError::Form(_))));
        let no_port = format!("{}@127.0.0.1", "0a".repeat(32));
        assert!(matches!(no_port.parse::<PeerAddr>(), Err(ParsePeerError::Socket(_))));
    }
}
