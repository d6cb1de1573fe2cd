//! Bytes as lower-case hexadecimal digits, and back.

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The bytes that such digits stand for, of either case; none for anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_are_no_digits_is_none() {
        assert_eq!(hex(&[0, 0xa5, 255]), "00a5ff");
        assert_eq!(unhex("00A5ff"), Some(vec![0, 0xa5, 255]));
        assert_eq!(["0", "0g", "é0", " 00"].map(unhex), [const { None }; 4]);
    }

    proptest! {
        #[test]
        fn bytes_are_read_as_they_are_written(bytes: Vec<u8>) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
