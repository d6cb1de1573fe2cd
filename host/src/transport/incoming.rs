//! Takes finished handshakes from the listening endpoint and hands authenticated links up.
//!
//! s2n-quic drives all handshakes side by side, each with its own deadline, and hands out a connection only when
//! its handshake is over; so a client that falls silent in the middle holds nobody up. How many may be under way is
//! bounded at the door (`admission`), how many may wait here to be taken by [`MAX_UNTAKEN`].

use s2n_quic::{Connection, Server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admission::SharedDoors;
use super::events::Proof;
use super::link::{Direction, Link};
use crate::reached::names;
use crate::wire::CloseCode;

/// Connections that wait to be taken. Whoever takes them starts a task for each and takes the next at once, so more
/// than a burst never waits; when it does, the node is too busy for one more.
pub const MAX_UNTAKEN: usize = 64;

/// The links that peers have dialed.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<Link>);

impl Incoming {
    /// The next link; `None` when the transport was closed. Cancel safe.
    pub async fn accept(&mut self) -> Option<Link> {
        self.0.recv().await
    }
}

/// Starts the task that owns the listening endpoint until `closing`, or until [`Incoming`] is dropped.
pub(super) fn start(server: Server, doors: SharedDoors, closing: CancellationToken) -> Incoming {
    let (links, incoming) = mpsc::channel(MAX_UNTAKEN);
    tokio::spawn(run(server, links, doors, closing));
    Incoming(incoming)
}

async fn run(mut server: Server, links: mpsc::Sender<Link>, doors: SharedDoors, closing: CancellationToken) {
    loop {
        let connection = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = links.closed() => return,
            connection = server.accept() => connection,
        };
        let Some(connection) = connection else { return };
        let Some(link) = authenticated(connection, Direction::Inbound) else { continue };
        if let Err(mpsc::error::TrySendError::Full(link)) = links.try_send(link) {
            turn_away(&link, &doors);
        }
    }
}

/// Whoever has proven a key costs no more lines than who has not.
fn turn_away(link: &Link, doors: &SharedDoors) {
    if let Some(unsaid) = doors.note_untaken() {
        let (scope, limit, value) = ("node", names::UNTAKEN, MAX_UNTAKEN);
        tracing::warn!(peer = %link.peer, scope, limit, value, taken = value, unsaid, "closed a new connection");
    }
    link.handle.close(CloseCode::Full);
}

/// Reads off whose key the handshake proved. `None`, with the connection closed, when there is none, which TLS as
/// configured here does not let happen.
pub(super) fn authenticated(connection: Connection, direction: Direction) -> Option<Link> {
    let peer = connection.query_event_context(|proof: &Proof| proof.peer).ok().flatten();
    if peer.is_none() {
        connection.close(u32::from(CloseCode::ProtocolViolation).into());
    }
    Some(Link::new(peer?, direction, connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Capture;
    use crate::transport::testing::{TestNode, soon};

    #[tokio::test]
    async fn connections_that_nobody_takes_are_closed_and_counted_and_that_is_said_once() {
        let said = Capture::default();
        let _listening = said.listen();
        let (dialer, listener) = (TestNode::start(1), TestNode::start(2));
        let mut links = Vec::new();
        for _ in 0..MAX_UNTAKEN + 3 {
            // One that is closed may be so before its dialer has it.
            links.push(soon(dialer.transport.dial(listener.address())).await);
        }
        let untaken = || listener.transport.door_counts().untaken;
        let counted = async {
            while untaken() < 3 {
                tokio::task::yield_now().await
            }
        };
        soon(counted).await;
        assert_eq!(untaken(), 3);
        let lines = said.named("closed a new connection");
        assert_eq!(lines.len(), 1, "{lines:?}");
        let named = ["scope", "limit", "value"].map(|name| lines[0].field(name).unwrap_or_default());
        assert_eq!(named, ["node", "connections that wait to be taken", "64"]);
    }
}
