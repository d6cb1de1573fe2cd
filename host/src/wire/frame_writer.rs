//! Writes frames: what follows the header on a data stream.

use bytes::{BufMut, Bytes, BytesMut};

use super::failure::Failure;
use super::frame::{ANSWER, FRAME_OVERHEAD, MESSAGE, REFUSAL, REQUEST, WITHDRAW};
use super::varint;

/// Encodes frames one after another into one buffer. What was written last can be taken back with [`truncate`].
///
/// [`truncate`]: FrameWriter::truncate
#[derive(Debug, Default)]
pub struct FrameWriter {
    out: BytesMut,
}

impl FrameWriter {
    /// Appends a message.
    pub fn message(&mut self, body: &[u8]) {
        self.reserve(FRAME_OVERHEAD + body.len());
        self.message_head(body.len());
        self.out.put_slice(body);
    }

    /// Appends the head of a message whose body of `body` bytes goes right behind it on its own, uncopied.
    pub fn message_head(&mut self, body: usize) {
        self.start(1 + body, MESSAGE);
    }

    /// Appends a request.
    pub fn request(&mut self, id: u64, timeout_ms: u32, body: &[u8]) {
        self.reserve(FRAME_OVERHEAD + body.len());
        self.request_head(id, timeout_ms, body.len());
        self.out.put_slice(body);
    }

    /// Appends the head of a request whose body of `body` bytes goes right behind it on its own, uncopied.
    pub fn request_head(&mut self, id: u64, timeout_ms: u32, body: usize) {
        self.start(1 + varint::len(id) + varint::len(timeout_ms.into()) + body, REQUEST);
        varint::write(&mut self.out, id);
        varint::write(&mut self.out, timeout_ms.into());
    }

    /// Appends the answer to a request of the peer.
    pub fn answer(&mut self, id: u64, body: &[u8]) {
        self.with_id(ANSWER, id, body);
    }

    /// Appends the head of an answer whose body of `body` bytes goes right behind it on its own, uncopied.
    pub fn answer_head(&mut self, id: u64, body: usize) {
        self.head_with_id(ANSWER, id, body);
    }

    /// Appends a refusal of a request of the peer; texts beyond their limits are clipped.
    pub fn refusal(&mut self, id: u64, failure: &Failure) {
        self.with_id(REFUSAL, id, &failure.encode());
    }

    /// Appends that a request of ours needs no answer any more.
    pub fn withdraw(&mut self, id: u64) {
        self.with_id(WITHDRAW, id, &[]);
    }

    fn with_id(&mut self, kind: u8, id: u64, body: &[u8]) {
        self.reserve(FRAME_OVERHEAD + body.len());
        self.head_with_id(kind, id, body.len());
        self.out.put_slice(body);
    }

    fn head_with_id(&mut self, kind: u8, id: u64, body: usize) {
        self.start(1 + varint::len(id) + body, kind);
        varint::write(&mut self.out, id);
    }

    /// Makes room for so many more bytes at once, where frames would make it bit by bit.
    pub fn reserve(&mut self, additional: usize) {
        self.out.reserve(additional);
    }

    fn start(&mut self, length: usize, kind: u8) {
        varint::write(&mut self.out, length as u64);
        self.out.put_u8(kind);
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Forgets everything after the first `len` bytes; `len` must be a value that [`FrameWriter::len`] gave.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// What was written, leaving the writer empty.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }
}
