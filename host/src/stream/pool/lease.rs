//! A stream in the hands of a lane, given back when it is dropped.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::state::{Condition, Event};
use crate::connection::ConnectionId;
use crate::transport::{SendStream, StreamError};

/// A lent stream. Dropping it gives it back: parked for its lane when it stands between two frames, abandoned
/// when it may stand inside one.
pub struct Lease {
    pool: Arc<Shared>,
    stream: Option<SendStream>,
    id: u64,
    fresh: bool,
    condition: Condition,
}

impl Lease {
    pub(super) fn new(pool: Arc<Shared>, stream: SendStream, fresh: bool) -> Self {
        let condition = if fresh { Condition::Unused } else { Condition::Clean };
        Self { pool, id: stream.id(), stream: Some(stream), fresh, condition }
    }

    /// The QUIC stream id.
    pub fn stream(&self) -> u64 {
        self.id
    }

    /// Of which connection.
    pub fn connection(&self) -> ConnectionId {
        self.pool.connection.id
    }

    /// Of the connection.
    pub(in crate::stream) fn span(&self) -> tracing::Span {
        self.pool.connection.span.clone()
    }

    /// Whether nothing was ever written to it: it needs a header. Otherwise it is the lane's own last stream.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether it may stand inside a frame: a write was dropped under way. It is abandoned when it comes back.
    pub fn is_dirty(&self) -> bool {
        self.condition == Condition::Dirty
    }

    /// Whether somebody waits for a slot that only a lane at work can give up: after its turn, whoever has this lease
    /// gives it back between two frames.
    pub fn is_wanted(&self) -> bool {
        self.pool.lock().state.is_short()
    }

    /// Whether the connection is about to be closed: whoever has this lease gives it back between two frames, at once.
    pub fn is_recalled(&self) -> bool {
        !self.pool.lock().state.is_open()
    }

    /// Writes all chunks, which together must end with a frame. Waits while the peer does not read.
    ///
    /// Dropping the call leaves the lease dirty; the chunks that were taken are empty.
    ///
    /// # Errors
    /// The stream is over. When the connection is, the whole pool is closed.
    pub async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), StreamError> {
        let Some(stream) = &mut self.stream else { return Err(StreamError::Ended("given back".to_owned())) };
        self.condition = Condition::Dirty;
        let outcome = stream.write(chunks).await;
        self.condition = match &outcome {
            Ok(()) => Condition::Clean,
            Err(StreamError::Stopped(_)) => Condition::Failed,
            Err(StreamError::Ended(_)) => Condition::Dirty,
            Err(StreamError::Link(_)) => {
                self.pool.close();
                Condition::Failed
            }
        };
        outcome
    }

    /// Gives it back to be finished instead of parked, unless it is dirty.
    pub fn finish(mut self) {
        if self.condition == Condition::Clean {
            self.condition = Condition::Finished;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let (id, condition) = (self.id, self.condition);
        self.pool.handle_with(Event::Returned { stream: id, condition }, |inner| {
            if condition == Condition::Unused {
                inner.borrowers.remove(&id);
            }
            inner.streams.insert(id, stream);
        });
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, fresh, condition, .. } = self;
        write!(f, "Lease({id}, fresh: {fresh}, {condition:?})")
    }
}
