//! The name of a protocol.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest protocol id, in bytes.
pub const MAX_PROTOCOL_ID: usize = 128;

/// A protocol's name and version, `/name/version`: two or more segments, at most 128 bytes in all,
/// each segment of letters, digits, `.`, `-`, `_` and `+`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProtocolId(Arc<str>);

/// Why a text is no protocol id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no protocol id: write /name/version with letters, digits and . - _ +, at most 128 bytes")]
pub struct InvalidProtocolId(String);

impl ProtocolId {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProtocolId {
    type Err = InvalidProtocolId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good_byte = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
        let good_segment = |s: &str| !s.is_empty() && s.bytes().all(good_byte);
        let segments = text.strip_prefix('/').unwrap_or_default();
        if text.len() <= MAX_PROTOCOL_ID && segments.contains('/') && segments.split('/').all(good_segment) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidProtocolId(text.chars().take(MAX_PROTOCOL_ID).collect()))
        }
    }
}

impl TryFrom<String> for ProtocolId {
    type Error = InvalidProtocolId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProtocolId> for String {
    fn from(id: ProtocolId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_and_versioned_ids_pass() {
        for good in ["/ping/0.1.0", "/a/b/c", "/staking/1.0.0-rc.1+x"] {
            assert!(good.parse::<ProtocolId>().is_ok(), "{good}");
        }
        let long = format!("/{}/1", "a".repeat(126));
        for bad in ["", "/", "ping/1", "/ping", "/ping/", "//1", "/pi ng/1", "/ping/1\n", "/pïng/1", &long] {
            assert!(bad.parse::<ProtocolId>().is_err(), "{bad}");
        }
    }
}
