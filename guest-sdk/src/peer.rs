//! `PeerId`: 64 hexadecimal digits for people and JSON, 32 bytes for the wire and the store.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;
use crate::abi::PeerId;
use crate::words;

impl PeerId {
    /// From the 32 bytes of a public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        let [a, b, c, d] = words::of(&bytes);
        Self { a, b, c, d }
    }

    /// The 32 bytes of the public key.
    pub fn to_bytes(&self) -> [u8; 32] {
        words::bytes([self.a, self.b, self.c, self.d])
    }

    /// The first ten digits: enough for a person to tell peers apart in a log, not to trust one.
    pub fn short(&self) -> String {
        format!("{:010x}", self.a >> 24)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}{:016x}{:016x}", self.a, self.b, self.c, self.d)
    }
}

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, ParsePeerIdError> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParsePeerIdError(text.chars().take(80).collect()));
        }
        let word = |at: usize| u64::from_str_radix(&text[at..at + 16], 16);
        match (word(0), word(16), word(32), word(48)) {
            (Ok(a), Ok(b), Ok(c), Ok(d)) => Ok(Self { a, b, c, d }),
            _ => Err(ParsePeerIdError(text.to_owned())),
        }
    }
}

/// The text is no peer id; it holds the beginning of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsePeerIdError(String);

impl fmt::Display for ParsePeerIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no peer id: it takes 64 hexadecimal digits, as `weir status` prints them", self.0)
    }
}

impl std::error::Error for ParsePeerIdError {}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.a, self.b, self.c, self.d).cmp(&(other.a, other.b, other.c, other.d))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in [self.a, self.b, self.c, self.d] {
            state.write_u64(word);
        }
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            Ok(Self::from_bytes(<[u8; 32]>::deserialize(deserializer)?))
        }
    }
}

impl TryFrom<&[u8]> for PeerId {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.try_into().map_err(|_| Error::new("bad-peer", format!("{} bytes, not 32", bytes.len())))?;
        Ok(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_go_both_ways() {
        let bytes = std::array::from_fn(|place| place as u8);
        let peer = PeerId::from_bytes(bytes);
        assert_eq!(peer.to_bytes(), bytes);
        assert_eq!(peer.to_string().parse::<PeerId>().expect("own text"), peer);
        assert_eq!(peer.short(), peer.to_string()[..10]);
        let json = serde_json::to_string(&peer).expect("json");
        assert_eq!(serde_json::from_str::<PeerId>(&json).expect("own json"), peer);
        assert!("zz".parse::<PeerId>().is_err());
    }
}
