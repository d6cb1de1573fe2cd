//! What the work needs of a library: nodes, links between them, and streams.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;

use crate::framing::Decoder;
use crate::tally::Tally;

/// One end, which listens on loopback. It takes every link, and counts every message on every stream.
pub trait Node: Sized + Send + Sync + 'static {
    /// A link to another one.
    type Link: Link;

    /// Starts one on a free port.
    fn start() -> impl Future<Output = Result<Self>> + Send;

    /// Connects to another one, and waits until that one knows it, too.
    fn connect(&self, to: &Self) -> impl Future<Output = Result<Self::Link>> + Send;

    /// The messages that have come.
    fn received(&self) -> &Arc<Tally>;
}

/// A link, at the end that made it.
pub trait Link: Send + Sync + 'static {
    /// A stream to the other end.
    type Stream: Outgoing;

    /// Opens one.
    fn open(&self) -> impl Future<Output = Result<Self::Stream>> + Send;

    /// Ends the link.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

/// A stream that messages are sent on.
pub trait Outgoing: Send + 'static {
    /// Writes one message, which is framed.
    fn send(&mut self, frame: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Says that there is no more.
    fn finish(self) -> impl Future<Output = Result<()>> + Send;
}

/// A link on which requests are answered: with what they brought.
pub trait Asking: Link {
    /// Asks, and waits for the answer.
    fn ask(&self, body: &Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Counts the messages of one stream; a handler would get each as these bytes.
pub struct Counting {
    decoder: Decoder,
    received: Arc<Tally>,
}

impl Counting {
    /// Counts into this.
    pub fn new(received: Arc<Tally>) -> Self {
        Self { decoder: Decoder::default(), received }
    }

    /// Takes what was read at once.
    pub fn take<'a>(&mut self, chunks: impl IntoIterator<Item = &'a [u8]>) {
        let handle = |body: &[u8]| {
            std::hint::black_box(body);
        };
        self.received.add(chunks.into_iter().map(|chunk| self.decoder.take(chunk, handle)).sum());
    }
}
