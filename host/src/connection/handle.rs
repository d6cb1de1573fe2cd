//! What other layers hold of a connection.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::peer::PeerId;
use crate::transport::{Direction, LinkHandle};
use crate::wire::{CloseCode, Control};

/// Names a connection; never used twice within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Queues control messages; never waits.
///
/// The queue is bounded. A peer that stops reading its control stream until the queue is full is not worth
/// keeping: the connection is closed with `ControlStalled`.
#[derive(Debug, Clone)]
pub struct ControlSender {
    queue: mpsc::Sender<Control>,
    link: LinkHandle,
}

impl ControlSender {
    /// Puts a queue before the control stream of `link`.
    pub(crate) fn new(queue: mpsc::Sender<Control>, link: LinkHandle) -> Self {
        Self { queue, link }
    }

    /// Queues a message; when the queue is full, closes the connection.
    pub fn send(&self, message: Control) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(message) {
            self.link.close(CloseCode::ControlStalled);
        }
    }
}

/// One admitted connection; cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionHandle {
    /// Its name in this process.
    pub id: ConnectionId,
    /// Who is at the other end.
    pub peer: PeerId,
    /// Who dialed.
    pub direction: Direction,
    /// For opening streams.
    pub link: LinkHandle,
    /// For control messages.
    pub control: ControlSender,
    /// Of the connection, with its peer and direction: for everything that is done for it.
    pub span: tracing::Span,
    /// Told when this side has drained.
    pub(crate) drained: Arc<Notify>,
}

impl ConnectionHandle {
    /// Says that everything this side had open is finished and was read by the peer.
    pub fn drained(&self) {
        self.drained.notify_one();
    }
}
