//! The end of a connection: refusals, closes at once, and deliberate closes that drain first.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Action, Drain, Stage, State};
use crate::connection::limits::REFUSAL_LINGER;
use crate::connection::{ConnectionId, DialFailure, Named, Refusal};
use crate::peer::PeerId;
use crate::transport::AccessLists;
use crate::wire::{CloseCode, Control};

impl State {
    /// Says why and leaves the peer a moment to read it: it closes when it has.
    pub(super) fn refuse(&mut self, id: ConnectionId, refusal: Refusal, now: Duration) {
        let (code, reason) = (refusal.code(), refusal.to_string());
        let Some(refused) = self.connections.get_mut(&id).filter(|c| c.is_hopeful()) else { return };
        (refused.stage, refused.deadline, refused.probe) = (Stage::Closing(code), Some(now + REFUSAL_LINGER), None);
        let (peer, direction) = (refused.peer, refused.direction);
        self.counts.refused += 1;
        let Named { scope, limit, value, taken } = refusal.named();
        tracing::debug!(
            peer = %peer.short(), ?direction, connection = id.0, code = u32::from(code), scope, limit, value, taken,
            reason, "refused"
        );
        self.actions.push(Action::Send { connection: id, message: Control::Refused { code, reason } });
        self.dial_ended(peer, DialFailure::refused_here(refusal));
    }

    /// Closes at once; a dial that led here ends with `failure` unless another way is open.
    pub(super) fn fail(&mut self, id: ConnectionId, code: CloseCode, failure: DialFailure) {
        let Some(closing) = self.connections.get_mut(&id) else { return };
        let (before, peer) = (closing.stage, closing.peer);
        (closing.stage, closing.deadline, closing.probe) = (Stage::Closing(code), None, None);
        match before {
            Stage::Dialing => {
                self.remove(id);
                self.actions.push(Action::CancelDial { connection: id });
            }
            _ => self.actions.push(Action::Close { connection: id, code }),
        }
        self.dial_ended(peer, failure);
    }

    /// The peer lets this connection not in.
    pub(super) fn refused(&mut self, id: ConnectionId, code: CloseCode, reason: String, now: Duration) {
        self.fail(id, code, DialFailure::Refused { code, reason });
        if let Some(peer) = self.connections.get(&id).map(|c| c.peer) {
            self.settle(peer, now);
        }
    }

    /// A deadline has passed.
    pub(super) fn overdue(&mut self, id: ConnectionId) {
        match self.connections.get(&id).map(|c| c.stage) {
            Some(Stage::Draining(Drain { code, .. }) | Stage::Closing(code)) => {
                self.fail(id, code, DialFailure::local(code));
            }
            Some(Stage::Greeting | Stage::Waiting | Stage::Answered | Stage::Ready) => {
                self.counts.hello_timeouts += 1;
                self.fail(id, CloseCode::HelloTimeout, DialFailure::Timeout);
            }
            _ => {}
        }
    }

    /// The peer's packets come from elsewhere.
    pub(super) fn moved(&mut self, id: ConnectionId, remote: SocketAddr, now: Duration) {
        let Some(moved) = self.connections.get_mut(&id) else { return };
        tracing::debug!(peer = %moved.peer.short(), connection = id.0, from = %moved.remote, to = %remote, "moved");
        moved.remote = remote;
        if let Some(peer) = self.deny(id) {
            self.settle(peer, now);
        }
    }

    /// The operator has changed the lists: what they deny now ends, whatever it is.
    pub(super) fn access_changed(&mut self, lists: AccessLists, now: Duration) {
        self.access = lists;
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        // All of them before anybody else is let in: nobody is evicted for a place that one of them is about to leave.
        let denied: BTreeSet<PeerId> = all.into_iter().filter_map(|id| self.deny(id)).collect();
        for peer in denied {
            self.settle(peer, now);
        }
    }

    /// Closes a connection at once if the lists deny it: it gets no time to finish, because whoever is blocked is to
    /// have nothing more. Whose it was, for the caller to settle.
    fn deny(&mut self, id: ConnectionId) -> Option<PeerId> {
        let open = self.connections.get(&id).filter(|c| !matches!(c.stage, Stage::Closing(_)))?;
        let denied = self.access.check(Some(&open.peer), open.remote).err()?;
        let (peer, direction, refusal) = (open.peer, open.direction, Refusal::from(denied));
        let Named { scope, limit, value, .. } = refusal.named();
        tracing::info!(
            peer = %peer.short(), ?direction, connection = id.0, scope, limit, value, reason = %refusal, "denied"
        );
        self.counts.denied += 1;
        self.fail(id, CloseCode::Blocked, DialFailure::refused_here(refusal));
        Some(peer)
    }

    /// Closes all connections of a peer: those that carry traffic drain first.
    pub(super) fn close_peer(&mut self, peer: PeerId, code: CloseCode, now: Duration) {
        for id in self.of(&peer) {
            match self.connections[&id].stage {
                Stage::Up => {
                    self.actions.push(Action::Send { connection: id, message: Control::Drain { code } });
                    self.start_drain(id, code, true, now);
                }
                Stage::Draining(_) | Stage::Closing(_) => {}
                _ => self.fail(id, code, DialFailure::local(code)),
            }
        }
    }

    /// Drains and closes one of several connections of a peer. The only one that is up stays: whoever gives one up
    /// means that the others are enough.
    pub(super) fn give_up(&mut self, id: ConnectionId, now: Duration) {
        let Some(spare) = self.connections.get(&id).filter(|c| c.stage == Stage::Up) else { return };
        let peer = spare.peer;
        if self.of(&peer).any(|other| other != id && self.connections[&other].stage == Stage::Up) {
            let code = CloseCode::Normal;
            self.actions.push(Action::Send { connection: id, message: Control::Drain { code } });
            self.start_drain(id, code, true, now);
        }
    }

    pub(super) fn peer_drain(&mut self, id: ConnectionId, code: CloseCode, now: Duration) {
        if self.connections.get(&id).is_some_and(|c| c.stage == Stage::Up) {
            self.start_drain(id, code, false, now);
            // A newcomer that waited for this one needs to wait no more.
            let peer = self.connections[&id].peer;
            self.settle(peer, now);
        }
    }

    pub(super) fn shutdown(&mut self, now: Duration) {
        self.stopping = true;
        let peers: Vec<PeerId> = self.by_peer.keys().copied().collect();
        for peer in peers {
            self.close_peer(peer, CloseCode::Shutdown, now);
        }
    }

    fn start_drain(&mut self, id: ConnectionId, code: CloseCode, initiator: bool, now: Duration) {
        let drain = Drain { code, initiator, own: false, theirs: false };
        self.edit(id, |c| {
            (c.stage, c.probe) = (Stage::Draining(drain), None);
            c.deadline = Self::drain_deadline(now, initiator);
        });
        self.actions.push(Action::Draining { connection: id });
    }

    /// One side has finished; the side that began closes when both have.
    pub(super) fn drained(&mut self, id: ConnectionId, own: bool) {
        let Some(Stage::Draining(drain)) = self.connections.get_mut(&id).map(|c| &mut c.stage) else { return };
        if own && !drain.own {
            self.actions.push(Action::Send { connection: id, message: Control::Drained });
        }
        drain.own |= own;
        drain.theirs |= !own;
        let drain = *drain;
        if drain.initiator && drain.own && drain.theirs {
            self.fail(id, drain.code, DialFailure::local(drain.code));
        }
    }
}
