//! Dials, and what the end of a handshake means, of either direction.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Action, Stage, State};
use crate::connection::limits::HELLO_TIMEOUT;
use crate::connection::{ConnectionId, DialFailure, Named, Refusal};
use crate::peer::PeerId;
use crate::transport::Direction;
use crate::wire::CloseCode;

impl State {
    pub(super) fn dial_requested(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: SocketAddr,
        another: bool,
    ) {
        if let Some(failure) = self.dial_refusal(peer, address, another) {
            self.actions.push(Action::DialDone { peer, result: Err(failure) });
            return;
        }
        let coming = self
            .of(&peer)
            .filter_map(|id| self.connections.get(&id))
            .any(|other| other.is_coming() && (other.holds_place() || other.direction == Direction::Outbound));
        // A second wish for the same peer, or one whose peer is about to be admitted, waits with the first.
        self.dials.insert(peer);
        if !coming {
            self.last_dial += 1;
            let dial = self.last_dial;
            self.insert(connection, peer, Direction::Outbound, address);
            self.edit(connection, |c| (c.dial, c.another) = (Some(dial), another));
            self.counts.dialed += 1;
            tracing::debug!(peer = %peer.short(), %address, connection = connection.0, another, "dialing");
            self.actions.push(Action::Dial { connection });
        }
    }

    fn dial_refusal(&mut self, peer: PeerId, address: SocketAddr, another: bool) -> Option<DialFailure> {
        if self.stopping {
            return Some(DialFailure::Stopping);
        }
        if peer == self.me {
            return Some(DialFailure::local(CloseCode::SelfDial));
        }
        if let Err(denied) = self.access.check(Some(&peer), address) {
            self.counts.denied += 1;
            let refusal = Refusal::from(denied);
            let Named { scope, limit, value, .. } = refusal.named();
            tracing::debug!(peer = %peer.short(), %address, scope, limit, value, reason = %refusal, "not dialed");
            return Some(DialFailure::refused_here(refusal));
        }
        let up = self.of(&peer).any(|id| self.connections[&id].stage == Stage::Up);
        match (up, another) {
            (true, false) => Some(DialFailure::AlreadyConnected),
            (false, true) => Some(DialFailure::NotConnected),
            (true, true) => self.full_peer(&peer).map(DialFailure::refused_here),
            (false, false) => None,
        }
    }

    pub(super) fn dial_failed(&mut self, connection: ConnectionId, failure: DialFailure) {
        if let Some(gone) = self.remove(connection) {
            self.dial_ended(gone.peer, failure);
        }
    }

    /// One way to the peer has failed: whoever dialed it hears of it unless another one may still succeed.
    pub(super) fn dial_ended(&mut self, peer: PeerId, failure: DialFailure) {
        let another = self.of(&peer).any(|id| self.connections[&id].is_coming());
        if !another && self.dials.remove(&peer) {
            self.actions.push(Action::DialDone { peer, result: Err(failure) });
        }
    }

    pub(super) fn linked(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        direction: Direction,
        remote: SocketAddr,
        now: Duration,
    ) {
        let refusal = match direction {
            Direction::Outbound => self.refuses_outbound(connection, peer, remote),
            Direction::Inbound => self.refuses_inbound(&peer, remote),
        };
        if let Some(refusal) = refusal {
            return self.turn_away(connection, peer, direction, refusal);
        }
        if direction == Direction::Inbound {
            self.insert(connection, peer, direction, remote);
        }
        let beside =
            direction == Direction::Outbound && self.of(&peer).any(|id| self.connections[&id].stage == Stage::Up);
        let mut dial = 0;
        self.edit(connection, |c| {
            dial = c.dial.unwrap_or(0);
            (c.remote, c.beside) = (remote, beside);
            (c.stage, c.deadline) = (Stage::Greeting, Some(now + HELLO_TIMEOUT));
        });
        self.actions.push(Action::Greet { connection, dial, beside });
    }

    fn turn_away(&mut self, connection: ConnectionId, peer: PeerId, direction: Direction, refusal: Refusal) {
        let code = refusal.code();
        self.counts.refused += 1;
        self.counts.turned_away += 1;
        self.counts.denied += u64::from(code == CloseCode::Blocked);
        let Named { scope, limit, value, taken } = refusal.named();
        tracing::debug!(
            peer = %peer.short(), ?direction, connection = connection.0, code = u32::from(code), scope, limit, value,
            taken, reason = %refusal, "turned away"
        );
        self.actions.push(Action::TurnAway { connection, code });
        if self.remove(connection).is_some() {
            self.dial_ended(peer, DialFailure::refused_here(refusal));
        }
    }

    fn refuses_outbound(&self, connection: ConnectionId, peer: PeerId, remote: SocketAddr) -> Option<Refusal> {
        let dial = self.connections.get(&connection).filter(|c| c.stage == Stage::Dialing);
        let Some(dial) = dial else { return Some(Refusal::Code(CloseCode::Normal)) };
        if let Err(denied) = self.access.check(Some(&peer), remote) {
            return Some(denied.into());
        }
        let mut others = self.of(&peer).map(|id| self.connections[&id].stage);
        // The peer's own dial was faster, and this side has already answered it.
        let overtaken = others.any(|stage| match stage {
            Stage::Answered | Stage::Ready => true,
            Stage::Up => !dial.another,
            _ => false,
        });
        if overtaken {
            return Some(Refusal::Duplicate("another connection between the two stays"));
        }
        self.full_peer(&peer).map(Refusal::Limit)
    }

    fn refuses_inbound(&self, peer: &PeerId, remote: SocketAddr) -> Option<Refusal> {
        if self.stopping {
            return Some(Refusal::Code(CloseCode::Shutdown));
        }
        if *peer == self.me {
            return Some(Refusal::Code(CloseCode::SelfDial));
        }
        if let Err(denied) = self.access.check(Some(peer), remote) {
            return Some(denied.into());
        }
        self.crowded(peer, remote).map(Refusal::Limit)
    }
}
