//! A request's body that is read from a file while it is sent, so that a large one takes no memory.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// See the module. Reads block, so it is for a client that does nothing else.
pub struct UploadBody {
    from: Box<dyn Read + Send + Sync>,
    /// Hears how many bytes were read so far.
    progress: Box<dyn FnMut(u64) + Send + Sync>,
    sent: u64,
}

impl std::fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadBody").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl UploadBody {
    /// Everything that `from` has; `progress` hears how many bytes that are so far.
    pub fn new(from: impl Read + Send + Sync + 'static, progress: impl FnMut(u64) + Send + Sync + 'static) -> Self {
        Self { from: Box::new(from), progress: Box::new(progress), sent: 0 }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut piece = vec![0; PIECE];
        let read = match self.from.read(&mut piece) {
            Ok(0) => return Poll::Ready(None),
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        piece.truncate(read);
        self.sent += read as u64;
        let sent = self.sent;
        (self.progress)(sent);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}
