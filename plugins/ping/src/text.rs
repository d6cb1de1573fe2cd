//! Base64 with the standard alphabet, so that JSON commands can carry a file.

use weir_sdk::{Error, Result};

/// The bytes behind `text`; line breaks are skipped, padding may be left out.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>> {
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in digits {
        bits = bits << 6 | value(digit)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}

fn value(digit: u8) -> Result<u32> {
    Ok(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => {
            let digit = digit as char;
            return Err(Error::new("bad-base64", format!("`{digit}` is no digit of standard base64")));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn reads_rfc_4648() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(from_base64(text).expect(text), bytes.as_bytes());
        }
        assert!(from_base64("Zg!").is_err());
    }
}
