//! The task that reads one stream: header, owner, turn, frames, end.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::assembly::{Assembly, Frames};
use super::slot::Slot;
use crate::stream::Outlet;
use crate::transport::{ReceiveStream, StreamError};
use crate::wire::{HeaderDecoder, StopCode, StreamHeader, StreamOutcome, WireError};

/// Tells a reader to stop, with the first code it was given.
#[derive(Debug, Clone, Default)]
pub(super) struct StopSignal {
    token: CancellationToken,
    code: Arc<OnceLock<StopCode>>,
}

impl StopSignal {
    pub(super) fn stop(&self, code: StopCode) {
        let _ = self.code.set(code);
        self.token.cancel();
    }

    async fn stopped(&self) -> StopCode {
        self.token.cancelled().await;
        self.code.get().copied().unwrap_or(StopCode::Closing)
    }
}

/// How reading came to its end.
#[derive(Debug)]
enum End {
    /// Read whole; also when it ended without a byte, opened ahead and never used.
    Finished,
    /// Ended or broken off by the peer where it must not end.
    Broken(StopCode),
    /// Not read further.
    Stop(StopCode),
    /// The connection is gone.
    Gone,
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        match error {
            // Weir never resets a stream.
            StreamError::Stopped(_) => Self::Broken(StopCode::Malformed),
            StreamError::Link(_) | StreamError::Ended(_) => Self::Gone,
        }
    }
}

fn wire(error: &WireError) -> End {
    tracing::trace!(%error, "a stream cannot be read");
    End::Stop(match error {
        WireError::TooLong { what: "frame" | "body", .. } => StopCode::TooLarge,
        _ => StopCode::Malformed,
    })
}

pub(super) struct Reader {
    slot: Slot,
    stream: ReceiveStream,
    signal: StopSignal,
    assembly: Arc<Assembly>,
    incarnation: u64,
}

impl Reader {
    pub(super) fn new(
        slot: Slot,
        stream: ReceiveStream,
        signal: StopSignal,
        assembly: Arc<Assembly>,
        incarnation: u64,
    ) -> Self {
        Self { slot, stream, signal, assembly, incarnation }
    }

    /// Reads to the end, or until the connection is gone, or the signal comes. What waits meanwhile, a handler's
    /// `deliver` too, is dropped then, so the count of frames is exact.
    pub(super) async fn run(mut self, gone: CancellationToken) {
        let signal = self.signal.clone();
        let end = tokio::select! {
            biased;
            () = gone.cancelled() => End::Gone,
            code = signal.stopped() => End::Stop(code),
            end = self.read() => end.unwrap_or_else(|end| end),
        };
        self.slot.outcome = match end {
            End::Finished => StreamOutcome::Finished,
            End::Broken(code) => StreamOutcome::Stopped(code),
            End::Gone => StreamOutcome::Stopped(StopCode::Closing),
            End::Stop(code) => {
                let (peer, stream) = (self.slot.connection.peer, self.slot.stream);
                tracing::debug!(%peer, stream, %code, "stopped a stream of the peer");
                self.stream.stop(code);
                StreamOutcome::Stopped(code)
            }
        };
    }

    async fn read(&mut self) -> Result<End, End> {
        let Some((header, rest)) = self.header().await? else { return Ok(End::Finished) };
        if header.incarnation != self.incarnation {
            return Err(End::Stop(StopCode::WrongIncarnation));
        }
        let shared = Arc::clone(&self.slot.shared);
        let peer = self.slot.connection.peer;
        let signal = self.signal.clone();
        let owner = async {
            let owner = timeout(shared.policy.header_wait, shared.inlet.open(peer, &header)).await;
            owner.unwrap_or(Err(StopCode::OutOfSequence))
        };
        let waiting = self.slot.handing();
        let turn = shared.turn(&mut self.slot, &header, &signal);
        // The turn first: a later generation must know that this one came, whatever its owner says.
        let ((), outlet) = tokio::try_join!(biased; turn, owner).map_err(End::Stop)?;
        drop(waiting);
        let closed = outlet.closed();
        tokio::select! {
            biased;
            () = closed.cancelled() => Err(End::Stop(outlet.close_code())),
            end = self.frames(&*outlet, rest) => end,
        }
    }

    /// The header and what came with it; `None` when the stream ended without a byte. A silent stream is counted,
    /// not timed out: its sender opened it ahead.
    async fn header(&mut self) -> Result<Option<(StreamHeader, Bytes)>, End> {
        let mut decoder = HeaderDecoder::default();
        while let Some(mut chunk) = self.stream.read().await? {
            if let Some(header) = decoder.push(&mut chunk).map_err(|error| wire(&error))? {
                return Ok(Some((header, chunk)));
            }
        }
        if decoder.is_empty() { Ok(None) } else { Err(End::Broken(StopCode::Malformed)) }
    }

    async fn frames(&mut self, outlet: &dyn Outlet, first: Bytes) -> Result<End, End> {
        let mut decoder = Frames::new(Arc::clone(&self.assembly), outlet.max_message());
        let (mut chunks, mut reported, mut open) = (vec![first], 0, true);
        loop {
            let mut frames = Vec::new();
            let decoded = chunks.drain(..).try_for_each(|chunk| decoder.decode(chunk, &mut frames));
            if !frames.is_empty() {
                let count = frames.len() as u64;
                let handing = self.slot.handing();
                outlet.deliver(frames).await.map_err(End::Stop)?;
                drop(handing);
                self.slot.frames += count;
                decoder.handed_over();
            }
            decoded.map_err(|error| wire(&error))?;
            if !open {
                break;
            }
            if self.slot.frames - reported >= self.slot.shared.policy.progress_frames {
                reported = self.slot.frames;
                self.slot.progress();
            }
            decoder.make_room().await;
            open = self.next(&mut chunks, &mut reported).await?;
        }
        // Nothing is left to stop: the sender has finished it, in the wrong place.
        decoder.finish().map_err(|_| End::Broken(StopCode::Malformed))?;
        Ok(End::Finished)
    }

    /// The next bytes; `false` when none follow. When they are long in coming, the sender is told first what was
    /// handed over.
    async fn next(&mut self, chunks: &mut Vec<Bytes>, reported: &mut u64) -> Result<bool, End> {
        if self.slot.frames > *reported {
            let delay = self.slot.shared.policy.progress_delay;
            tokio::select! {
                biased;
                read = self.stream.read_many(chunks) => return Ok(read?),
                () = tokio::time::sleep(delay) => {}
            }
            *reported = self.slot.frames;
            self.slot.progress();
        }
        Ok(self.stream.read_many(chunks).await?)
    }
}
