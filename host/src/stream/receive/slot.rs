//! The place that one receive stream takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;
use crate::connection::ConnectionHandle;
use crate::stream::LaneId;
use crate::wire::{Control, StopCode, StreamOutcome};

/// The place of one stream. However its reader ends, dropping it gives the place back and reports the end, once.
pub(super) struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: ConnectionHandle,
    pub(super) stream: u64,
    /// Its lane and generation, once it is in the lane's order.
    pub(super) place: Option<(LaneId, u64)>,
    /// Frames handed over.
    pub(super) frames: u64,
    /// What is reported.
    pub(super) outcome: StreamOutcome,
    /// Of the connection: streams of which something was read that its handler does not have yet.
    handing: Arc<AtomicUsize>,
}

/// Something was read and waits: for its turn, its handler or room there.
pub(super) struct Handing(Arc<AtomicUsize>);

impl Drop for Handing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: ConnectionHandle,
        stream: u64,
        handing: Arc<AtomicUsize>,
    ) -> Self {
        // Stands if the reader never comes to its end.
        let outcome = StreamOutcome::Stopped(StopCode::HandlerGone);
        Self { shared, connection, stream, place: None, frames: 0, outcome, handing }
    }

    /// To be held while something that was read is not with its handler.
    pub(super) fn handing(&self) -> Handing {
        self.handing.fetch_add(1, Ordering::Relaxed);
        Handing(Arc::clone(&self.handing))
    }

    pub(super) fn progress(&self) {
        self.connection.control.send(Control::StreamProgress { stream: self.stream, frames: self.frames });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The place first: the report lets the sender open another stream.
        self.shared.ended(&self.connection, self.stream, self.place);
        let Self { stream, frames, outcome, .. } = *self;
        self.connection.control.send(Control::StreamEnded { stream, frames, outcome });
    }
}
