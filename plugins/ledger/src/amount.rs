//! Amounts in JSON: unsigned 128-bit integers as decimal strings, because JSON numbers end at 2^53.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serializer, de};

/// For `#[serde(with = "amount")]`.
pub fn serialize<S: Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

/// For `#[serde(with = "amount")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        de::Error::custom("an amount is a string of decimal digits without sign or leading zeros, below 2^128")
    })
}

/// An amount as people write it: digits only, in one way only.
pub fn parse(text: &str) -> Option<u128> {
    let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !plain || text.len() > 1 && text.starts_with('0') { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn there_is_one_way_to_write_an_amount() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("340282366920938463463374607431768211455"), Some(u128::MAX));
        for wrong in ["", "+1", "-1", "01", "1.0", "1e3", " 1", "340282366920938463463374607431768211456"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
