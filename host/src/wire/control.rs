//! The messages of the control stream.

use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CloseCode, SignedAddressRecord, StreamOutcome, WireError, varint};

/// Largest control frame without its length, in bytes.
pub const MAX_CONTROL_FRAME: usize = 256 << 10;
/// Most protocols in a set.
pub const MAX_PROTOCOLS: usize = 1024;
/// Longest text of a refusal, in bytes.
pub const MAX_REASON: usize = 512;

/// One protocol of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolEntry {
    /// The protocol id, `/name/version`.
    pub id: String,
    /// Its owner's registration number, never used twice within an incarnation.
    pub registration: u64,
    /// Largest body its owner takes, in bytes.
    pub max_message: u32,
}

/// The first message of either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::WIRE_VERSION`].
    pub version: u16,
    /// Random, drawn once when the process starts.
    pub incarnation: u64,
    /// Counts the dials of the dialing side within its incarnation; 0 from the side that was dialed.
    pub dial: u64,
    /// This dial is for one more connection beside those that are admitted, which it leaves alone. False from the side
    /// that was dialed.
    pub beside: bool,
    /// Data streams the sender of this hello lets the other side have open at once.
    pub max_streams: u32,
    /// Where the sender listens, if it wants to be dialed.
    pub address: Option<SignedAddressRecord>,
    /// The sequence of the protocol set.
    pub sequence: u64,
    /// The whole protocol set.
    #[serde(deserialize_with = "bounded")]
    pub protocols: Vec<ProtocolEntry>,
}

/// How a protocol set changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetChange {
    /// The whole set.
    Full {
        /// All protocols.
        #[serde(deserialize_with = "bounded")]
        protocols: Vec<ProtocolEntry>,
    },
    /// What to change in the set with sequence `base`.
    Difference {
        /// The sequence it applies to.
        base: u64,
        /// Registrations to add.
        #[serde(deserialize_with = "bounded")]
        added: Vec<ProtocolEntry>,
        /// Registration numbers to remove; applied before the additions.
        #[serde(deserialize_with = "bounded")]
        removed: Vec<u64>,
    },
}

/// A message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// First in either direction.
    Hello(Hello),
    /// The sender lets traffic flow; it does once both sides said so.
    Admitted,
    /// Instead of `Admitted`; the connection is closed next.
    Refused {
        /// Why.
        code: CloseCode,
        /// The same for people: scope, limit and value. At most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// The sender's protocol set changed.
    Protocols {
        /// The sender's incarnation.
        incarnation: u64,
        /// The sequence of the set after the change.
        sequence: u64,
        /// What to do.
        change: SetChange,
    },
    /// The answer to `Protocols`: what has been applied by now. When it is less than what was pushed, the
    /// difference did not fit and the full set is wanted.
    ProtocolsApplied {
        /// The incarnation it is about: the pusher's.
        incarnation: u64,
        /// The highest sequence applied.
        sequence: u64,
    },
    /// The sender of a data stream gives it up in the middle; the receiver stops reading it.
    Abandon {
        /// QUIC stream id.
        stream: u64,
    },
    /// How many frames of an open data stream went to the handler so far.
    StreamProgress {
        /// QUIC stream id.
        stream: u64,
        /// From the start of the stream.
        frames: u64,
    },
    /// A data stream was read to its end or is not read further; its slot is free.
    StreamEnded {
        /// QUIC stream id.
        stream: u64,
        /// Frames that went to the handler, from the start of the stream.
        frames: u64,
        /// How it ended.
        outcome: StreamOutcome,
    },
    /// Wants a `Pong` with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The sender will close: it opens no more streams and finishes what is open; the other side does the same.
    Drain {
        /// With which code it will close.
        code: CloseCode,
    },
    /// Everything that the sender of this had open is finished and was read.
    Drained,
}

/// Appends the length and the message.
///
/// # Errors
/// [`WireError::TooLong`] when it is larger than [`MAX_CONTROL_FRAME`].
pub fn encode_control(message: &Control, out: &mut BytesMut) -> Result<(), WireError> {
    let body = postcard::to_stdvec(message).map_err(|_| WireError::Malformed("control message"))?;
    if body.len() > MAX_CONTROL_FRAME {
        return Err(WireError::TooLong {
            what: "control frame",
            length: body.len() as u64,
            limit: MAX_CONTROL_FRAME as u64,
        });
    }
    varint::write(out, body.len() as u64);
    out.extend_from_slice(&body);
    Ok(())
}

/// Cuts the control stream into messages.
#[derive(Debug, Default)]
pub struct ControlDecoder {
    buffer: BytesMut,
}

impl ControlDecoder {
    /// Takes bytes as they come; call [`ControlDecoder::next`] until it is empty before pushing more.
    pub fn push(&mut self, chunk: &Bytes) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete message.
    ///
    /// # Errors
    /// [`WireError`] when it is too long, does not decode or breaks a cap.
    #[expect(clippy::should_implement_trait, reason = "fallible and fed from outside, it is no iterator")]
    pub fn next(&mut self) -> Result<Option<Control>, WireError> {
        let Some((length, head)) = varint::read(&self.buffer)? else { return Ok(None) };
        if length > MAX_CONTROL_FRAME as u64 {
            let limit = MAX_CONTROL_FRAME as u64;
            return Err(WireError::TooLong { what: "control frame", length, limit });
        }
        let length = length as usize;
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        self.buffer.advance(head);
        let body = self.buffer.split_to(length);
        let malformed = WireError::Malformed("control message");
        let (message, rest) = postcard::take_from_bytes::<Control>(&body).map_err(|_| malformed.clone())?;
        let long_reason = matches!(&message, Control::Refused { reason, .. } if reason.len() > MAX_REASON);
        if !rest.is_empty() || long_reason { Err(malformed) } else { Ok(Some(message)) }
    }
}

/// A list of at most [`MAX_PROTOCOLS`], refused at its length before anything is kept.
fn bounded<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    struct Bounded<T>(PhantomData<T>);
    impl<'de, T: DeserializeOwned> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_PROTOCOLS} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let claimed = entries.size_hint().unwrap_or(0);
            if claimed > MAX_PROTOCOLS {
                return Err(serde::de::Error::invalid_length(claimed, &self));
            }
            let mut list = Vec::with_capacity(claimed);
            while let Some(entry) = entries.next_element()? {
                list.push(entry);
            }
            Ok(list)
        }
    }
    from.deserialize_seq(Bounded(PhantomData))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::StopCode;

    fn entry(at: u64) -> ProtocolEntry {
        ProtocolEntry { id: format!("/test-{at}/1"), registration: at, max_message: 1 << 20 }
    }

    fn hello(protocols: u64) -> Control {
        Control::Hello(Hello {
            version: 1,
            incarnation: u64::MAX,
            dial: 7,
            beside: true,
            max_streams: 64,
            address: None,
            sequence: 3,
            protocols: (0..protocols).map(entry).collect(),
        })
    }

    fn round_trip(message: &Control, cut: usize) -> Vec<Control> {
        let mut encoded = BytesMut::new();
        encode_control(message, &mut encoded).expect("fits");
        let mut decoder = ControlDecoder::default();
        let mut found = Vec::new();
        for part in encoded.chunks(cut) {
            decoder.push(&Bytes::copy_from_slice(part));
            while let Some(message) = decoder.next().expect("decodes") {
                found.push(message);
            }
        }
        found
    }

    #[test]
    fn every_message_survives_any_cut() {
        let stopped = StreamOutcome::Stopped(StopCode::Unknown(77));
        let messages = [
            hello(3),
            Control::Admitted,
            Control::Refused { code: CloseCode::Full, reason: "20 of 20".into() },
            Control::Protocols { incarnation: 1, sequence: 2, change: SetChange::Full { protocols: vec![entry(1)] } },
            Control::Protocols {
                incarnation: 1,
                sequence: 2,
                change: SetChange::Difference { base: 1, added: vec![entry(5)], removed: vec![1, 2] },
            },
            Control::ProtocolsApplied { incarnation: 1, sequence: 2 },
            Control::Abandon { stream: 2 },
            Control::StreamProgress { stream: 2, frames: 9 },
            Control::StreamEnded { stream: 6, frames: 10, outcome: stopped },
            Control::Ping(1),
            Control::Pong(1),
            Control::Drain { code: CloseCode::Shutdown },
            Control::Drained,
        ];
        for message in messages {
            for cut in [1, 2, 7, 1000] {
                assert_eq!(round_trip(&message, cut), std::slice::from_ref(&message));
            }
        }
    }

    #[test]
    fn more_than_1024_protocols_are_refused() {
        assert_eq!(round_trip(&hello(1024), 9999).len(), 1);
        let mut encoded = BytesMut::new();
        encode_control(&hello(1025), &mut encoded).expect("fits the frame");
        let mut decoder = ControlDecoder::default();
        decoder.push(&encoded.freeze());
        assert_eq!(decoder.next(), Err(WireError::Malformed("control message")));
    }

    #[test]
    fn a_control_frame_too_large_is_refused_at_its_length() {
        let mut claim = BytesMut::new();
        varint::write(&mut claim, 1 << 62);
        let mut decoder = ControlDecoder::default();
        decoder.push(&claim.freeze());
        assert!(matches!(decoder.next(), Err(WireError::TooLong { what: "control frame", .. })));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = ControlDecoder::default();
            decoder.push(&Bytes::from(bytes));
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
