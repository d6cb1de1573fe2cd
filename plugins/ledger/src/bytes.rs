//! `Key` and `Id`: 32 bytes each, 64 hexadecimal digits for people and JSON.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text is not what was asked for, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted} in hexadecimal digits")]
pub struct ParseHexError {
    text: String,
    wanted: &'static str,
}

impl ParseHexError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), wanted }
    }
}

/// Lowercase hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Bytes from hexadecimal digits, at most `limit` of them; nothing is allocated for a longer text.
pub fn from_hex(text: &str, limit: usize) -> Result<Vec<u8>, ParseHexError> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() / 2 > limit {
        return Err(ParseHexError::new(text, "an even number of digits within the limit,"));
    }
    let wrong = || ParseHexError::new(text, "bytes");
    digits
        .chunks_exact(2)
        .map(|pair| Ok(digit(pair[0]).ok_or_else(wrong)? << 4 | digit(pair[1]).ok_or_else(wrong)?))
        .collect()
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

macro_rules! bytes32 {
    ($name:ident, $wanted:literal, $(#[$doc:meta])*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first ten digits: enough to tell two apart in a log, not to trust one.
            pub fn short(&self) -> String {
                to_hex(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                let bytes = from_hex(text, 32).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| ParseHexError::new(text, $wanted))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    Ok(Self(<[u8; 32]>::deserialize(deserializer)?))
                }
            }
        }
    };
}

bytes32!(Key, "a public key of 32 bytes",
    /// An Ed25519 public key: an account, an issuer, a payer.
);
bytes32!(Id, "an id of 32 bytes",
    /// The SHA-256 of what it names.
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_go_both_ways() {
        let id = Id(std::array::from_fn(|place| place as u8 * 7));
        assert_eq!(id.to_string().parse::<Id>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<Id>(), Ok(id));
        assert!("00".parse::<Key>().is_err());
        assert!("zz".repeat(32).parse::<Key>().is_err());
        assert!("é".repeat(32).parse::<Key>().is_err());
        assert!(from_hex("0011", 1).is_err());
        assert_eq!(from_hex("0aFF", 2), Ok(vec![10, 255]));
    }
}
