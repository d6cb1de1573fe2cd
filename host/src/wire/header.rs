//! What every data stream starts with.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::WireError;

/// Most bytes of an encoded header without its length byte: six numbers of at most ten bytes.
pub const MAX_HEADER: usize = 60;

/// The head of a data stream: which handler it is for and where it stands in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHeader {
    /// The receiver's number of the registration it is meant for.
    pub registration: u64,
    /// The sender's protocol-set sequence when it opened the stream; the receiver reads no further
    /// before it has applied that one.
    pub sequence: u64,
    /// The sender's incarnation.
    pub incarnation: u64,
    /// The sender's number for the lane, never used twice within an incarnation.
    pub lane: u64,
    /// Counts the streams of the lane, from 1.
    pub generation: u64,
    /// The last generation of the lane that was finished whole, 0 if none: the receiver reads it to
    /// its end first, and discards every other older one.
    pub after: u64,
}

impl StreamHeader {
    /// Appends the length byte and the header.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut bytes = [0; MAX_HEADER];
        // Six varints always fit; an empty header would be refused by every receiver.
        let used = postcard::to_slice(self, &mut bytes).map_or(0, |used| used.len());
        out.put_u8(used as u8);
        out.put_slice(&bytes[..used]);
    }
}

/// Takes a header off the front of a stream, however its bytes are cut.
#[derive(Debug, Default)]
pub struct HeaderDecoder {
    seen: Vec<u8>,
}

impl HeaderDecoder {
    /// Takes bytes from the front of `chunk`; the header once it is complete. What follows it stays in `chunk`.
    ///
    /// # Errors
    /// [`WireError`] when the header is too long or does not decode.
    pub fn push(&mut self, chunk: &mut Bytes) -> Result<Option<StreamHeader>, WireError> {
        while let Some(&next) = chunk.first() {
            if self.seen.first().is_some_and(|&length| self.seen.len() > usize::from(length)) {
                break;
            }
            if self.seen.is_empty() && usize::from(next) > MAX_HEADER {
                return Err(WireError::TooLong {
                    what: "stream header",
                    length: next.into(),
                    limit: MAX_HEADER as u64,
                });
            }
            self.seen.push(next);
            let _ = chunk.split_to(1);
        }
        match self.seen.split_first() {
            Some((&length, body)) if body.len() == usize::from(length) => match postcard::take_from_bytes(body) {
                Ok((header, [])) => Ok(Some(header)),
                _ => Err(WireError::Malformed("stream header")),
            },
            _ => Ok(None),
        }
    }

    /// Whether nothing of a header has come yet: such a stream is silent, not truncated.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_survives_any_cut(
            registration: u64, sequence: u64, incarnation: u64, lane: u64, generation: u64, after: u64,
            cut in 1_usize..20, rest in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let header = StreamHeader { registration, sequence, incarnation, lane, generation, after };
            let mut encoded = BytesMut::new();
            header.encode(&mut encoded);
            encoded.extend_from_slice(&rest);
            let mut decoder = HeaderDecoder::default();
            let mut left = Vec::new();
            let mut found = None;
            for part in encoded.chunks(cut) {
                let mut part = Bytes::copy_from_slice(part);
                if found.is_none() {
                    found = decoder.push(&mut part)?;
                }
                left.extend_from_slice(&part);
            }
            prop_assert_eq!(found, Some(header));
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = HeaderDecoder::default().push(&mut Bytes::from(bytes));
        }
    }

    #[test]
    fn a_long_header_is_refused_at_its_first_byte() {
        let refused = HeaderDecoder::default().push(&mut Bytes::from_static(&[61]));
        assert!(matches!(refused, Err(WireError::TooLong { length: 61, .. })));
    }
}
