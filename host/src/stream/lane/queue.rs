//! Encoded frames that wait to be written, in order. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::{FRAME_OVERHEAD, Failure, FrameWriter};

/// Smaller frames are gathered into chunks of about this size, in bytes: large enough that a chunk's own cost is
/// spread over many, small enough that an idle lane pins little.
const CHUNK: usize = 16 << 10;

/// From this size on, in bytes, a body is queued as it is; a smaller one is copied, or it would pin the whole
/// chunk of up to 64 KiB that it came in.
pub(crate) const LARGE_BODY: usize = 4 << 10;

/// Something to be sent on a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutFrame {
    /// Needs no answer.
    Message(Bytes),
    /// Wants an answer.
    Request {
        /// Unique within the incarnation.
        id: u64,
        /// How long the asker waits, in milliseconds.
        timeout_ms: u32,
        /// What is asked.
        body: Bytes,
    },
    /// Answers a request of the peer.
    Answer {
        /// Of the request.
        id: u64,
        /// The answer.
        body: Bytes,
    },
    /// Refuses a request of the peer.
    Refusal {
        /// Of the request.
        id: u64,
        /// Why.
        failure: Failure,
    },
    /// A request of ours needs no answer any more.
    Withdraw {
        /// Of the request.
        id: u64,
    },
}

impl OutFrame {
    /// An upper bound of the bytes it takes in the queue, but for a refusal's text.
    pub(super) fn cost(&self) -> usize {
        let body = match self {
            Self::Message(body) | Self::Request { body, .. } | Self::Answer { body, .. } => body.len(),
            Self::Refusal { .. } | Self::Withdraw { .. } => 0,
        };
        body + FRAME_OVERHEAD
    }

    /// Whether it is queued whatever is queued already: the peer's requests are limited instead of their answers.
    pub(super) fn always_fits(&self) -> bool {
        !matches!(self, Self::Message(_) | Self::Request { .. })
    }

    fn large_body(&self) -> Option<&Bytes> {
        match self {
            Self::Message(body) | Self::Request { body, .. } | Self::Answer { body, .. } => {
                (body.len() >= LARGE_BODY).then_some(body)
            }
            Self::Refusal { .. } | Self::Withdraw { .. } => None,
        }
    }

    fn encode(&self, out: &mut FrameWriter) {
        match self {
            Self::Message(body) => out.message(body),
            Self::Request { id, timeout_ms, body } => out.request(*id, *timeout_ms, body),
            Self::Answer { id, body } => out.answer(*id, body),
            Self::Refusal { id, failure } => out.refusal(*id, failure),
            Self::Withdraw { id } => out.withdraw(*id),
        }
    }

    fn encode_head(&self, out: &mut FrameWriter) {
        match self {
            Self::Message(body) => out.message_head(body.len()),
            Self::Request { id, timeout_ms, body } => out.request_head(*id, *timeout_ms, body.len()),
            Self::Answer { id, body } => out.answer_head(*id, body.len()),
            other => other.encode(out),
        }
    }
}

/// How many frames, and how many of them are messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) frames: u64,
    pub(super) messages: u64,
}

impl Count {
    fn add(&mut self, frame: &OutFrame) {
        self.frames += 1;
        self.messages += u64::from(matches!(frame, OutFrame::Message(_)));
    }
}

/// Whole frames: the piece with their bytes, and the last frame's body where that is a piece of its own.
#[derive(Debug)]
struct Unit {
    head: Bytes,
    body: Option<Bytes>,
    count: Count,
}

impl Unit {
    fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, Bytes::len)
    }
}

/// What goes into one gather write. Whoever writes it leaves empty what was taken.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In order; the units' pieces, behind a header if there is one.
    pub(super) pieces: Vec<Bytes>,
    units: Vec<(usize, Count)>,
    /// Bytes of all units.
    pub(super) bytes: usize,
    /// Which queue generation it was taken from: what is not written does not go back into another.
    pub(super) epoch: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Puts the stream's header before everything.
    pub(super) fn prepend(&mut self, header: Bytes) {
        self.pieces.insert(0, header);
        self.units.iter_mut().for_each(|(first, _)| *first += 1);
    }

    /// What was taken, wholly or in part: it must not be written again.
    pub(super) fn taken(&self) -> impl Iterator<Item = Count> {
        self.units.iter().filter(|(first, _)| self.pieces[*first].is_empty()).map(|(_, count)| *count)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    units: VecDeque<Unit>,
    tail: FrameWriter,
    tail_count: Count,
    bytes: usize,
}

impl Queue {
    /// Bytes queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn push(&mut self, frame: &OutFrame) {
        let before = self.tail.len();
        if self.tail.is_empty() {
            self.tail.reserve(CHUNK);
        }
        self.tail_count.add(frame);
        if let Some(body) = frame.large_body() {
            frame.encode_head(&mut self.tail);
            self.bytes += self.tail.len() - before + body.len();
            self.seal(Some(body.clone()));
        } else {
            frame.encode(&mut self.tail);
            self.bytes += self.tail.len() - before;
            if self.tail.len() >= CHUNK {
                self.seal(None);
            }
        }
    }

    fn seal(&mut self, body: Option<Bytes>) {
        if !self.tail.is_empty() {
            let count = std::mem::take(&mut self.tail_count);
            self.units.push_back(Unit { head: self.tail.take(), body, count });
        }
    }

    /// Takes units from the front until they are `max` bytes or more.
    pub(super) fn take(&mut self, max: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.bytes < max {
            if self.units.is_empty() {
                self.seal(None);
            }
            let Some(unit) = self.units.pop_front() else { break };
            batch.bytes += unit.len();
            batch.units.push((batch.pieces.len(), unit.count));
            batch.pieces.push(unit.head);
            batch.pieces.extend(unit.body);
        }
        self.bytes -= batch.bytes;
        batch
    }

    /// Puts back what of a batch was not taken.
    pub(super) fn put_back(&mut self, batch: Batch) {
        let Batch { mut pieces, units, .. } = batch;
        for (first, count) in units.into_iter().rev() {
            let body = (pieces.len() > first + 1).then(|| pieces.pop()).flatten();
            let head = pieces.pop().unwrap_or_default();
            if !head.is_empty() {
                let unit = Unit { head, body, count };
                self.bytes += unit.len();
                self.units.push_front(unit);
            }
        }
    }

    /// Forgets everything: how many messages.
    pub(super) fn clear(&mut self) -> u64 {
        self.seal(None);
        self.bytes = 0;
        self.units.drain(..).map(|unit| unit.count.messages).sum()
    }

    /// Gives back memory that only a busy lane needs.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FrameDecoder, FrameKind};

    #[test]
    fn what_comes_out_decodes_as_what_went_in() {
        let mut queue = Queue::default();
        let sizes = [10, 5000, 1, 20_000, 4096, 3000, 3000, 3000, 3000, 3000, 3000, 3000];
        for (id, size) in sizes.into_iter().enumerate() {
            let body = Bytes::from(vec![id as u8; size]);
            queue.push(&OutFrame::Message(body.clone()));
            queue.push(&OutFrame::Request { id: id as u64, timeout_ms: 9, body: body.clone() });
            queue.push(&OutFrame::Answer { id: id as u64, body });
        }
        let total = queue.bytes();
        let mut batch = queue.take(1);
        // A batch of which nothing was taken goes back as it was.
        assert!(!batch.is_empty() && batch.taken().next().is_none());
        queue.put_back(batch);
        assert_eq!(queue.bytes(), total);
        batch = queue.take(usize::MAX);
        assert!(queue.is_empty());
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut frames = Vec::new();
        for piece in batch.pieces {
            decoder.decode(piece, &mut frames).expect("well formed");
        }
        assert_eq!(decoder.finish(), Ok(()));
        assert_eq!(frames.iter().step_by(3).map(|frame| frame.body.len()).collect::<Vec<_>>(), sizes);
        assert!(matches!(frames[4].kind, FrameKind::Request { id: 1, timeout_ms: 9 }));
    }

    #[test]
    fn a_unit_of_which_a_part_was_taken_does_not_go_back() {
        let mut queue = Queue::default();
        for _ in 0..2 {
            queue.push(&OutFrame::Message(Bytes::from_static(b"small")));
            queue.push(&OutFrame::Message(Bytes::from(vec![0; 5000])));
        }
        let mut batch = queue.take(usize::MAX);
        batch.prepend(Bytes::new());
        batch.pieces[1].clear();
        assert_eq!(batch.taken().collect::<Vec<_>>(), [Count { frames: 2, messages: 2 }]);
        queue.put_back(batch);
        assert_eq!(queue.clear(), 2);
    }
}
