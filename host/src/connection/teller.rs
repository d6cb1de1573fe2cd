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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::connection::ControlSender;
    use crate::transport::Link;
    use crate::transport::testing::pair;
    use crate::wire::{CloseCode, Hello, WIRE_VERSION};

    const PEER: PeerId = PeerId::from_bytes([7; 32]);
    const CAUSE: LinkError = LinkError::Closed { code: CloseCode::Normal, local: false };

    /// Queues the `Up` of a connection. What is told when it was delivered is not of interest here.
    async fn up(teller: &mut Teller, number: u64) {
        let (Link { direction, handle: link, acceptor, .. }, _) = pair().await;
        let control = ControlSender::new(mpsc::channel(1).0, link.clone());
        let id = ConnectionId(number);
        let (span, drained) = (tracing::Span::none(), Arc::new(Notify::new()));
        let handle = ConnectionHandle { id, peer: PEER, direction, link, control, span, drained };
        let hello = Hello {
            version: WIRE_VERSION,
            incarnation: 1,
            dial: 0,
            beside: false,
            max_streams: 1,
            address: None,
            sequence: 0,
            protocols: Vec::new(),
        };
        let greeted = Greeted { hello, address: None, sent_sequence: 0, acceptor };
        teller.up(handle, Box::new(greeted), oneshot::channel().0);
    }

    /// What is told, in order: who, what, and whether it is the first or the last.
    fn told(teller: &mut Teller) -> Vec<(u64, &'static str, bool)> {
        let mut told = Vec::new();
        while let Some((event, _)) = teller.next() {
            told.push(match event {
                ConnectionEvent::Up { connection, first, .. } => (connection.id.0, "up", first),
                ConnectionEvent::Down { connection, last, .. } => (connection.0, "down", last),
                ConnectionEvent::Draining { connection, .. } => (connection.0, "draining", false),
                ConnectionEvent::Control { .. } => continue,
            });
        }
        told
    }

    #[tokio::test]
    async fn a_peer_is_up_with_its_first_connection_and_gone_with_its_last() {
        let mut teller = Teller::default();
        up(&mut teller, 1).await;
        up(&mut teller, 2).await;
        assert_eq!(told(&mut teller), [(1, "up", true), (2, "up", false)]);
        teller.draining(ConnectionId(1), PEER);
        teller.down(ConnectionId(1), PEER, CAUSE);
        up(&mut teller, 3).await;
        teller.down(ConnectionId(2), PEER, CAUSE);
        teller.down(ConnectionId(3), PEER, CAUSE);
        // The third was gone before anybody heard of it, so nobody hears of its end either.
        assert_eq!(told(&mut teller), [(1, "draining", false), (1, "down", false), (2, "down", true)]);
        up(&mut teller, 4).await;
        assert_eq!(told(&mut teller), [(4, "up", true)]);
    }

    #[tokio::test]
    async fn a_fast_connect_and_close_is_told_as_both_or_as_neither() {
        let mut teller = Teller::default();
        up(&mut teller, 1).await;
        teller.draining(ConnectionId(1), PEER);
        teller.down(ConnectionId(1), PEER, CAUSE);
        assert!(teller.is_empty(), "nobody was told of it");
        up(&mut teller, 2).await;
        let first = teller.next();
        assert!(matches!(first, Some((ConnectionEvent::Up { first: true, .. }, _))));
        teller.down(ConnectionId(2), PEER, CAUSE);
        assert_eq!(told(&mut teller), [(2, "down", true)]);
    }
}
