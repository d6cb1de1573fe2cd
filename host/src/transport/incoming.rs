//! Takes finished handshakes from the listening endpoint and hands authenticated links up.
//!
//! s2n-quic drives all handshakes side by side, each with its own deadline, and hands out a connection only when
//! its handshake is over; so a client that falls silent in the middle holds nobody up. How many may be under way is
//! bounded at the door (`admission`), how many may wait here to be taken by [`WAITING`].

use s2n_quic::{Connection, Server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::events::Proof;
use super::link::{Direction, Link};
use crate::wire::CloseCode;

/// Links that wait to be taken. Whoever takes them starts a task for each and takes the next at once, so more
/// than a burst never waits; when it does, the node is too busy for one more.
const WAITING: usize = 64;

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
pub(super) fn start(server: Server, closing: CancellationToken) -> Incoming {
    let (links, incoming) = mpsc::channel(WAITING);
    tokio::spawn(run(server, links, closing));
    Incoming(incoming)
}

async fn run(mut server: Server, links: mpsc::Sender<Link>, closing: CancellationToken) {
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
            let (scope, limit, value) = ("node", "connections that wait to be taken", WAITING);
            tracing::warn!(peer = %link.peer, scope, limit, value, "closed a new connection");
            link.handle.close(CloseCode::Full);
        }
    }
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
