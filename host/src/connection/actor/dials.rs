//! Dials: their tasks, who waits for them, and where a connected peer is dialed once more.

use std::net::SocketAddr;

use tokio::task::JoinError;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{Actor, Live, span};
use crate::connection::limits::DIAL_TIMEOUT;
use crate::connection::manager::DialReply;
use crate::connection::route::{Route, race};
use crate::connection::state::Event;
use crate::connection::{ConnectionId, DialFailure};
use crate::peer::{PeerAddr, PeerId};
use crate::transport::{DialError, Direction, Link};
use crate::wire::CloseCode;

impl Actor {
    pub(super) fn dial(&mut self, connection: ConnectionId) {
        let Some(route) = self.target.take() else { return };
        let transport = self.transport.clone();
        let one = move |to: PeerAddr| {
            let transport = transport.clone();
            async move {
                // Each address by itself: a peer that may be dialed at one of them may be blocked at another.
                if let Err(denied) = transport.access().lists().check(Some(&to.peer), to.address) {
                    return Err(DialFailure::refused_here(denied));
                }
                match timeout(DIAL_TIMEOUT, transport.dial(to)).await {
                    Ok(outcome) => outcome.map_err(DialFailure::from),
                    Err(_) => Err(DialFailure::Timeout),
                }
            }
        };
        let span = span(connection, &route.peer, Direction::Outbound);
        let dial = async move { (connection, race(route, one).await) };
        let task = self.dials.spawn(dial.instrument(span.clone()));
        self.dial_tasks.insert(connection, (task, span));
    }

    pub(super) fn dialed(&mut self, connection: ConnectionId, outcome: Result<Link, DialFailure>) {
        let dial = self.dial_tasks.remove(&connection);
        match outcome {
            Ok(link) => {
                let span = dial.map_or_else(|| span(connection, &link.peer, link.direction), |(_, span)| span);
                self.linked(connection, link, span);
            }
            Err(failure) => self.decide(Event::DialFailed { connection, failure }),
        }
        self.forget_addresses();
    }

    pub(super) fn dial_broke(&mut self, error: &JoinError) {
        let broken = self.dial_tasks.iter().find(|(_, (task, _))| task.id() == error.id()).map(|(id, _)| *id);
        // A cancelled dial is forgotten already.
        if let Some(connection) = broken {
            self.dialed(connection, Err(DialFailure::Handshake(error.to_string())));
        }
    }

    pub(super) fn dial_requested(&mut self, route: Route, another: bool, reply: DialReply) {
        let (connection, peer) = (self.name(), route.peer);
        let allowed = |address: &SocketAddr| self.transport.access().lists().check(Some(&peer), *address).is_ok();
        // When none is allowed, the state says so.
        let Some(address) = route.addresses().find(allowed).or_else(|| route.addresses().next()) else {
            return drop(reply.send(Err(DialFailure::NoAddress)));
        };
        self.waiting.entry(peer).or_default().push(reply);
        self.target = Some(route);
        self.decide(Event::DialRequested { connection, peer, address, another });
        self.target = None;
    }

    /// Where to dial a connected peer once more.
    pub(super) fn address_of(&self, peer: &PeerId) -> Result<SocketAddr, DialFailure> {
        let up = |connection: &&ConnectionId| self.state.is_up(connection);
        let mine: Vec<&Live> =
            self.live.iter().filter(|(id, live)| live.handle.peer == *peer && up(id)).map(|(_, live)| live).collect();
        if mine.is_empty() {
            return Err(DialFailure::NotConnected);
        }
        let outbound = mine.iter().find(|live| live.handle.direction == Direction::Outbound).map(|live| live.remote);
        let known = outbound.or_else(|| self.dialed.get(peer).copied());
        known.or_else(|| mine.iter().find_map(|live| live.listens)).ok_or(DialFailure::NoAddress)
    }

    pub(super) fn forget_addresses(&mut self) {
        self.dialed.retain(|peer, _| self.state.knows(peer));
    }
}

impl From<DialError> for DialFailure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::WrongPeer { expected, found, address } => Self::WrongPeer { address, expected, found },
            DialError::Timeout { .. } => Self::Timeout,
            DialError::OwnId(_) => Self::local(CloseCode::SelfDial),
            DialError::Closing => Self::Stopping,
            other => Self::Handshake(other.to_string()),
        }
    }
}
