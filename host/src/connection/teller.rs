//! What the layers above are told, in order, without ever holding up a decision.
//!
//! Bounded by arithmetic: a connection has at most three entries, and one that ends before its `Up` was
//! delivered has none.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::task::Greeted;
use super::{ConnectionEvent, ConnectionHandle, ConnectionId};
use crate::peer::PeerId;
use crate::transport::LinkError;

#[derive(Debug)]
enum Entry {
    Up { connection: Box<ConnectionHandle>, greeted: Box<Greeted>, told: oneshot::Sender<()> },
    Draining { connection: ConnectionId, peer: PeerId },
    Down { connection: ConnectionId, peer: PeerId, cause: LinkError },
}

/// Queues `Up`, `Draining` and `Down`, and knows which is a peer's first and last.
#[derive(Debug, Default)]
pub(super) struct Teller {
    queue: VecDeque<Entry>,
    /// Connections of each peer whose `Up` was delivered and whose `Down` was not.
    told: BTreeMap<PeerId, usize>,
}

impl Teller {
    pub(super) fn up(&mut self, connection: ConnectionHandle, greeted: Box<Greeted>, told: oneshot::Sender<()>) {
        self.queue.push_back(Entry::Up { connection: Box::new(connection), greeted, told });
    }

    pub(super) fn draining(&mut self, connection: ConnectionId, peer: PeerId) {
        self.queue.push_back(Entry::Draining { connection, peer });
    }

    pub(super) fn down(&mut self, gone: ConnectionId, peer: PeerId, cause: LinkError) {
        let untold = self.queue.iter().any(|e| matches!(e, Entry::Up { connection, .. } if connection.id == gone));
        if untold {
            self.queue.retain(|entry| match entry {
                Entry::Up { connection, .. } => connection.id != gone,
                Entry::Draining { connection, .. } | Entry::Down { connection, .. } => *connection != gone,
            });
        } else {
            self.queue.push_back(Entry::Down { connection: gone, peer, cause });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Forgets everything: nobody listens any more.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// The next event, and whom to tell that it was delivered.
    pub(super) fn next(&mut self) -> Option<(ConnectionEvent, Option<oneshot::Sender<()>>)> {
        Some(match self.queue.pop_front()? {
            Entry::Up { connection, greeted, told } => {
                let count = self.told.entry(connection.peer).or_default();
                *count += 1;
                let first = *count == 1;
                let Greeted { hello, address, sent_sequence, acceptor } = *greeted;
                let connection = *connection;
                (ConnectionEvent::Up { connection, hello, address, sent_sequence, acceptor, first }, Some(told))
            }
            Entry::Draining { connection, peer } => (ConnectionEvent::Draining { connection, peer }, None),
            Entry::Down { connection, peer, cause } => {
                let left = self.told.get(&peer).map_or(0, |count| count.saturating_sub(1));
                if left == 0 {
                    self.told.remove(&peer)
                } else {
                    self.told.insert(peer, left)
                };
                let reason = cause.to_string();
                (ConnectionEvent::Down { connection, peer, cause, reason, last: left == 0 }, None)
            }
        })
    }
}
