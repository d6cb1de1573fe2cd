//! Frames: what follows the header on a data stream, and how they are read.

use bytes::{Buf as _, Bytes, BytesMut};

use super::failure::MAX_FAILURE;
use super::{WireError, varint};

pub(super) const MESSAGE: u8 = 0;
pub(super) const REQUEST: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const REFUSAL: u8 = 3;
pub(super) const WITHDRAW: u8 = 4;

/// Most bytes a frame holds beside its body, its length included: two numbers of ten bytes, one of
/// five and the kind.
pub const FRAME_OVERHEAD: usize = 2 * varint::MAX_VARINT + 5 + 1;

/// Largest frame that room is made for as soon as it begins, in bytes, its length included. Room for a larger one is
/// made as its bytes come, or when [`FrameDecoder::reserve`] says so.
pub const SMALL_FRAME: usize = 64 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Needs no answer.
    Message,
    /// Is answered on the lane in the other direction with the same id.
    Request {
        /// The asker's number, unique within its incarnation.
        id: u64,
        /// How long the asker waits, in milliseconds from when it asked.
        timeout_ms: u32,
    },
    /// The answer to the request `id`.
    Answer {
        /// Of the request.
        id: u64,
    },
    /// Instead of an answer; the body is an encoded [`Failure`](super::Failure).
    Refusal {
        /// Of the request.
        id: u64,
    },
    /// The asker waits no longer for the request `id`. No body.
    Withdraw {
        /// Of the request.
        id: u64,
    },
}

/// One decoded frame. The body is a slice of the chunk it came in, unless it was spread over several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// What it carries.
    pub body: Bytes,
}

/// Cuts a stream's bytes into frames, however they are chunked.
///
/// Holds at most one incomplete frame; its memory grows with what has come, not with what is claimed.
#[derive(Debug)]
pub struct FrameDecoder {
    max_body: usize,
    partial: BytesMut,
}

impl FrameDecoder {
    /// For bodies of at most `max_body` bytes.
    pub fn new(max_body: u32) -> Self {
        Self { max_body: max_body as usize, partial: BytesMut::new() }
    }

    /// Appends the frames that `chunk` completes to `out`, in order. After an error the stream is unusable;
    /// the frames before the error are in `out`.
    ///
    /// # Errors
    /// [`WireError`] on the first byte that cannot stand where it stands.
    pub fn decode(&mut self, mut chunk: Bytes, out: &mut Vec<Frame>) -> Result<(), WireError> {
        while !self.partial.is_empty() {
            let Some(missing) = self.missing()? else {
                // The length itself is incomplete: take it byte by byte.
                if chunk.is_empty() {
                    return Ok(());
                }
                self.partial.extend_from_slice(&chunk.split_to(1));
                continue;
            };
            self.partial.extend_from_slice(&chunk.split_to(missing.min(chunk.len())));
            if self.missing()? != Some(0) {
                return Ok(());
            }
            let mut whole = self.partial.split().freeze();
            if let Some(frame) = self.take_frame(&mut whole)? {
                out.push(frame);
            }
        }
        while !chunk.is_empty() {
            match self.take_frame(&mut chunk)? {
                Some(frame) => out.push(frame),
                None => {
                    let whole = self.length(&chunk)?.map_or(chunk.len(), |(length, head)| head + length);
                    self.partial = BytesMut::with_capacity(whole.min(SMALL_FRAME).max(chunk.len()));
                    self.partial.extend_from_slice(&chunk);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// [`WireError::Truncated`] inside a frame.
    pub fn finish(&self) -> Result<(), WireError> {
        if self.partial.is_empty() { Ok(()) } else { Err(WireError::Truncated("a frame")) }
    }

    /// Bytes of the incomplete frame that came, its length included; 0 between two frames.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Bytes of the incomplete frame that still have to come; `None` between two frames, and while its length is
    /// incomplete.
    pub fn pending(&self) -> Option<usize> {
        if self.partial.is_empty() { None } else { self.missing().ok().flatten() }
    }

    /// Makes room for the rest of the incomplete frame, exactly.
    pub fn reserve(&mut self) {
        let Some(pending) = self.pending() else { return };
        let mut whole = BytesMut::with_capacity(self.partial.len() + pending);
        whole.extend_from_slice(&self.partial);
        self.partial = whole;
    }

    /// Bytes of the incomplete frame that still have to come, `None` while its length is incomplete.
    fn missing(&self) -> Result<Option<usize>, WireError> {
        Ok(self.length(&self.partial)?.map(|(length, head)| (head + length).saturating_sub(self.partial.len())))
    }

    fn length(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
        let Some((length, head)) = varint::read(bytes)? else { return Ok(None) };
        let limit = (self.max_body.max(MAX_FAILURE) + FRAME_OVERHEAD) as u64;
        if length > limit {
            return Err(WireError::TooLong { what: "frame", length, limit });
        }
        if length == 0 {
            return Err(WireError::Malformed("frame without a kind"));
        }
        Ok(Some((length as usize, head)))
    }

    fn take_frame(&self, bytes: &mut Bytes) -> Result<Option<Frame>, WireError> {
        let Some((length, head)) = self.length(bytes)? else { return Ok(None) };
        let end = head + length;
        let Some(frame) = bytes.get(head..end) else { return Ok(None) };
        let (kind, used) = kind_of(frame)?;
        let limit = match kind {
            FrameKind::Refusal { .. } => MAX_FAILURE,
            FrameKind::Withdraw { .. } => 0,
            _ => self.max_body,
        };
        if length - used > limit {
            return Err(WireError::TooLong { what: "body", length: (length - used) as u64, limit: limit as u64 });
        }
        // One slice a frame: each one changes a counter that the threads share.
        let body = bytes.slice(head + used..end);
        bytes.advance(end);
        Ok(Some(Frame { kind, body }))
    }
}

/// What a whole frame is, and how many of its bytes come before the body.
fn kind_of(frame: &[u8]) -> Result<(FrameKind, usize), WireError> {
    let mut used = 1;
    let mut number = |what| match varint::read(&frame[used..])? {
        Some((value, taken)) => {
            used += taken;
            Ok(value)
        }
        None => Err(WireError::Malformed(what)),
    };
    let kind = match frame.first() {
        Some(&MESSAGE) => FrameKind::Message,
        Some(&REQUEST) => {
            let id = number("request id")?;
            let timeout = number("request timeout")?;
            let timeout_ms = timeout.try_into().map_err(|_| WireError::Malformed("request timeout"))?;
            FrameKind::Request { id, timeout_ms }
        }
        Some(&ANSWER) => FrameKind::Answer { id: number("answer id")? },
        Some(&REFUSAL) => FrameKind::Refusal { id: number("refusal id")? },
        Some(&WITHDRAW) => FrameKind::Withdraw { id: number("withdraw id")? },
        Some(other) => return Err(WireError::UnknownKind(*other)),
        None => return Err(WireError::Malformed("frame without a kind")),
    };
    Ok((kind, used))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::failure::{Failure, clip};
    use crate::wire::frame_writer::FrameWriter;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let body = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            body.clone().prop_map(|body| Frame { kind: FrameKind::Message, body }),
            (any::<u64>(), any::<u32>(), body.clone())
                .prop_map(|(id, timeout_ms, body)| Frame { kind: FrameKind::Request { id, timeout_ms }, body }),
            (any::<u64>(), body).prop_map(|(id, body)| Frame { kind: FrameKind::Answer { id }, body }),
            (any::<u64>(), ".{0,40}", ".{0,80}").prop_map(|(id, code, message)| Frame {
                kind: FrameKind::Refusal { id },
                body: Failure { code: clip(&code, 64).into(), message }.encode().into(),
            }),
            any::<u64>().prop_map(|id| Frame { kind: FrameKind::Withdraw { id }, body: Bytes::new() }),
        ]
    }

    fn encode(frames: &[Frame]) -> Bytes {
        let mut writer = FrameWriter::default();
        for frame in frames {
            match frame.kind {
                FrameKind::Message => writer.message(&frame.body),
                FrameKind::Request { id, timeout_ms } => writer.request(id, timeout_ms, &frame.body),
                FrameKind::Answer { id } => writer.answer(id, &frame.body),
                FrameKind::Refusal { id } => {
                    writer.refusal(id, &Failure::decode(&frame.body).expect("made by encode"));
                }
                FrameKind::Withdraw { id } => writer.withdraw(id),
            }
        }
        writer.take()
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(frames in proptest::collection::vec(any_frame(), 0..12), cut in 1_usize..200) {
            let encoded = encode(&frames);
            let mut decoder = FrameDecoder::new(1000);
            let mut out = Vec::new();
            for at in (0..encoded.len()).step_by(cut) {
                decoder.decode(encoded.slice(at..(at + cut).min(encoded.len())), &mut out)?;
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(out, frames);
        }

        #[test]
        fn an_end_inside_a_frame_is_noticed(frame in any_frame(), keep in 0.0..1.0) {
            let encoded = encode(&[frame]);
            let keep = (1 + ((encoded.len() - 1) as f64 * keep) as usize).min(encoded.len() - 1);
            let mut decoder = FrameDecoder::new(1000);
            let mut out = Vec::new();
            decoder.decode(encoded.slice(..keep), &mut out)?;
            prop_assert_eq!(decoder.finish(), Err(WireError::Truncated("a frame")));
            prop_assert!(out.is_empty());
        }

        #[test]
        fn garbage_never_panics_and_never_hoards(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..30),
        ) {
            let mut decoder = FrameDecoder::new(64);
            let mut out = Vec::new();
            for chunk in chunks {
                if decoder.decode(Bytes::from(chunk), &mut out).is_err() {
                    break;
                }
                prop_assert!(decoder.partial.len() <= MAX_FAILURE + FRAME_OVERHEAD + varint::MAX_VARINT);
            }
        }
    }

    #[test]
    fn a_claim_of_2_to_the_62_bytes_is_refused_before_it_is_believed() {
        let mut claim = Vec::new();
        varint::write(&mut claim, 1 << 62);
        let mut decoder = FrameDecoder::new(1 << 20);
        let refused = decoder.decode(Bytes::from(claim), &mut Vec::new());
        assert!(matches!(refused, Err(WireError::TooLong { what: "frame", length, .. }) if length == 1 << 62));
        assert_eq!(decoder.partial.capacity(), 0);
    }

    #[test]
    fn an_incomplete_frame_says_what_it_lacks() {
        let mut writer = FrameWriter::default();
        writer.message(&vec![7; 200_000]);
        let bytes = writer.take();
        let (mut decoder, mut out) = (FrameDecoder::new(1 << 20), Vec::new());
        assert_eq!((decoder.held(), decoder.pending()), (0, None));
        decoder.decode(bytes.slice(..2), &mut out).expect("a part");
        assert_eq!((decoder.held(), decoder.pending()), (2, None), "the length takes three bytes");
        decoder.decode(bytes.slice(2..1000), &mut out).expect("a part");
        assert_eq!((decoder.held(), decoder.pending()), (1000, Some(bytes.len() - 1000)));
        decoder.reserve();
        assert_eq!(decoder.partial.capacity(), bytes.len());
        decoder.decode(bytes.slice(1000..), &mut out).expect("the rest");
        assert_eq!((decoder.held(), decoder.pending(), out.len()), (0, None, 1));
        assert_eq!(out[0].body.len(), 200_000);
    }

    #[test]
    fn a_body_is_a_slice_of_its_chunk() {
        let mut writer = FrameWriter::default();
        writer.message(b"one");
        writer.message(b"two");
        let chunk = writer.take();
        let mut out = Vec::new();
        FrameDecoder::new(10).decode(chunk.clone(), &mut out).expect("decodes");
        assert_eq!(out[1].body.as_ptr(), chunk[chunk.len() - 3..].as_ptr());
    }

    #[test]
    fn frames_before_an_error_are_kept() {
        let mut bytes = vec![4, 0, b'a', b'b', b'c'];
        bytes.extend([1, 99]);
        let mut out = Vec::new();
        assert_eq!(FrameDecoder::new(10).decode(bytes.into(), &mut out), Err(WireError::UnknownKind(99)));
        assert_eq!(out.len(), 1);
    }
}
