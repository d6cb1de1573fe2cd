//! Little-endian base-128 numbers, as postcard writes them: seven bits a byte, low bits first.

use bytes::BufMut;

use super::WireError;

/// Most bytes a 64-bit number takes.
pub(super) const MAX_VARINT: usize = 10;

/// Reads a number from the front: its value and the bytes it took, or `None` while it is incomplete.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(u64, usize)>, WireError> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(MAX_VARINT).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == MAX_VARINT - 1 && bits > 1 {
            return Err(WireError::Varint);
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= MAX_VARINT { Err(WireError::Varint) } else { Ok(None) }
}

/// Appends a number.
pub(super) fn write(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// How many bytes `write` appends.
pub(super) const fn len(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    if bits <= 7 { 1 } else { bits.div_ceil(7) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64) {
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(read(&out), Ok(Some((value, out.len()))));
            prop_assert_eq!(read(&out[..out.len() - 1]), Ok(None));
            prop_assert_eq!(postcard::to_stdvec(&value).ok(), Some(out));
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(read(&[0xff; 10]), Err(WireError::Varint));
        assert_eq!(read(&[0x80; 11]), Err(WireError::Varint));
        assert_eq!(read(&[0xff; 9]), Ok(None));
    }
}
