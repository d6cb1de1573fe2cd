//! Hello and admission: which of several connections of a peer stays, and who gets a place.

use std::time::Duration;

use super::{Action, Connection, Stage, State};
use crate::connection::limits::{HELLO_TIMEOUT, PROBE_TIMEOUT};
use crate::connection::{ConnectionId, DialFailure, Refusal};
use crate::peer::PeerId;
use crate::transport::{Direction, LinkError};
use crate::wire::{CloseCode, Control};

/// What an older connection means for one whose hello has just come.
#[derive(Debug, PartialEq, Eq)]
enum Older {
    /// Nothing.
    Beside,
    /// It goes at once.
    Replaced(CloseCode),
    /// It stays; the newcomer goes.
    Stays,
    /// It must be resolved first.
    Blocks,
}

/// Whether this side has admitted a connection. Its dialer may have it up already, though this side has not heard so; one
/// that the same node dials beside it finds no room rather than to cost it.
fn is_admitted(old: &Connection) -> bool {
    matches!(old.stage, Stage::Up | Stage::Ready | Stage::Answered)
}

impl State {
    pub(super) fn hello(&mut self, id: ConnectionId, incarnation: u64, dial: u64, beside: bool, now: Duration) {
        let Some(new) = self.connections.get_mut(&id).filter(|c| c.stage == Stage::Greeting) else { return };
        new.incarnation = Some(incarnation);
        new.deadline = Some(now + HELLO_TIMEOUT);
        if new.direction == Direction::Inbound {
            (new.dial, new.beside) = (Some(dial), beside);
        }
        let new = new.clone();
        if new.peer == self.me {
            return self.refuse(id, Refusal::Code(CloseCode::SelfDial), now);
        }
        let mut stays = false;
        for other in self.of(&new.peer).filter(|other| *other != id) {
            match self.weigh(&new, &self.connections[&other]) {
                Older::Beside | Older::Blocks => {}
                Older::Stays => stays = true,
                Older::Replaced(code) => self.replace(other, id, code),
            }
        }
        if stays {
            return self.refuse(id, Refusal::Duplicate("a later dial of the same node is connected"), now);
        }
        self.edit(id, |c| c.stage = Stage::Waiting);
        self.probe_older(id, now);
        self.settle(new.peer, now);
    }

    fn replace(&mut self, old: ConnectionId, new: ConnectionId, code: CloseCode) {
        self.counts.replaced += 1;
        if let Some(replaced) = self.connections.get(&old) {
            let (peer, direction) = (replaced.peer.short(), replaced.direction);
            tracing::info!(%peer, ?direction, connection = old.0, by = new.0, %code, "replaced");
        }
        self.fail(old, code, DialFailure::local(code));
    }

    /// Compares a connection whose hello has just come with another one of the same peer.
    ///
    /// Why the two sides agree when both dial at once, whatever overtakes what: call the side with the greater id
    /// G, its dial g, and the dial of the other side l. G says hello on g only while it has not answered l, and
    /// from then on leaves l waiting for as long as g may still be admitted. So when the hello on g comes to the
    /// lesser side before `Admitted` came on l, then l will not be admitted unless g is dead at G, and l may go.
    fn weigh(&self, new: &Connection, old: &Connection) -> Older {
        if matches!(old.stage, Stage::Closing(_) | Stage::Dialing) {
            return Older::Beside;
        }
        if old.incarnation.is_some_and(|of_old| Some(of_old) != new.incarnation) {
            return Older::Replaced(CloseCode::Replaced);
        }
        if matches!(old.stage, Stage::Draining(_)) {
            return Older::Beside;
        }
        if new.beside && matches!(old.stage, Stage::Up | Stage::Ready) && old.direction != new.direction {
            return Older::Beside;
        }
        if old.direction == new.direction {
            return match (old.dial, new.dial) {
                (Some(older), Some(newer)) if older < newer && new.beside && is_admitted(old) => Older::Beside,
                (Some(older), Some(newer)) if older < newer => Older::Replaced(CloseCode::Replaced),
                (Some(_), Some(_)) if old.incarnation.is_some() => Older::Stays,
                // Its own hello decides when it comes.
                _ => Older::Beside,
            };
        }
        match (old.direction, old.stage) {
            (_, Stage::Up | Stage::Ready) => Older::Blocks,
            (Direction::Inbound, Stage::Greeting | Stage::Waiting) => Older::Beside,
            (Direction::Outbound, _) if self.me < new.peer && self.may_stay(new, old) => Older::Beside,
            (Direction::Outbound, _) if self.me < new.peer => Older::Replaced(CloseCode::Duplicate),
            _ => Older::Blocks,
        }
    }

    /// Whether a connection that this side dialed and has only answered stays when the peer dials one more. It may be up
    /// at the peer already, whose word about it is still on its way: it stays as long as the peer may have so many. If
    /// it is not up there, the peer refuses it when it has the new one.
    fn may_stay(&self, new: &Connection, old: &Connection) -> bool {
        new.beside && old.stage == Stage::Answered && self.full_peer(&new.peer).is_none()
    }

    fn blocks(&self, new: ConnectionId, old: ConnectionId) -> bool {
        new != old && self.weigh(&self.connections[&new], &self.connections[&old]) == Older::Blocks
    }

    /// Makes everything that stands in the way of `id` prove that it is alive.
    fn probe_older(&mut self, id: ConnectionId, now: Duration) {
        let peer = self.connections[&id].peer;
        for other in self.of(&peer) {
            if !self.blocks(id, other) || self.connections[&other].probe.is_some() {
                continue;
            }
            self.last_probe += 1;
            let number = self.last_probe;
            self.edit(other, |c| c.probe = Some((number, now + PROBE_TIMEOUT)));
            // One that is not up yet proves itself by becoming it: the peer may have given it up already, and
            // then an answer would say nothing.
            if self.connections[&other].stage == Stage::Up {
                self.actions.push(Action::Send { connection: other, message: Control::Ping(number) });
            }
        }
    }

    /// Decides about the waiting connection of a peer, if nothing stands in its way any more.
    pub(super) fn settle(&mut self, peer: PeerId, now: Duration) {
        for id in self.of(&peer) {
            let waiting = self.connections.get(&id).is_some_and(|c| c.stage == Stage::Waiting);
            if waiting && !self.of(&peer).any(|other| self.blocks(id, other)) {
                self.admit(id, now);
            }
        }
        self.raise(peer, now);
    }

    /// The one step that checks the limits and takes the place.
    fn admit(&mut self, id: ConnectionId, now: Duration) {
        let Connection { peer, direction, .. } = self.connections[&id];
        let no_place = match self.held(&peer) {
            0 => self.take_place(peer, direction, now).err(),
            _ => self.full_peer(&peer),
        };
        if let Some(no_place) = no_place {
            return self.refuse(id, no_place.into(), now);
        }
        tracing::debug!(peer = %peer.short(), ?direction, connection = id.0, "admitted by this side");
        let mut both = false;
        self.edit(id, |c| {
            both = c.admitted_by_peer;
            (c.stage, c.deadline) = (Stage::Answered, Some(now + HELLO_TIMEOUT));
        });
        self.actions.push(Action::Send { connection: id, message: Control::Admitted });
        self.cut_drains();
        if both {
            self.agreed(id, now);
        }
    }

    pub(super) fn admitted(&mut self, id: ConnectionId, now: Duration) {
        let mut answered = false;
        self.edit(id, |c| {
            c.admitted_by_peer = true;
            answered = c.stage == Stage::Answered;
        });
        if answered {
            self.agreed(id, now);
        }
    }

    /// Both sides said `Admitted`: what still waits for this peer goes.
    fn agreed(&mut self, id: ConnectionId, now: Duration) {
        let until = Some(now + HELLO_TIMEOUT);
        self.edit(id, |c| (c.stage, c.deadline, c.probe) = (Stage::Ready, until, None));
        let peer = self.connections[&id].peer;
        self.refuse_waiting(peer, now);
        self.raise(peer, now);
    }

    /// Whatever waits for a decision has waited for a connection that has just proven to live.
    fn refuse_waiting(&mut self, peer: PeerId, now: Duration) {
        for other in self.of(&peer) {
            if self.connections[&other].stage == Stage::Waiting {
                self.refuse(other, Refusal::Duplicate("another connection between the two is alive"), now);
            }
        }
    }

    /// Tells ready connections upward, as soon as the layers above have lost the ones they replace. They so see
    /// one session of a peer end before the next begins, and never more connections than a peer may have.
    fn raise(&mut self, peer: PeerId, now: Duration) {
        for id in self.of(&peer) {
            let told = self.of(&peer).filter(|id| self.connections[id].told).count();
            let has_room = told < self.limits.connections_per_peer;
            let waits = |old| self.precedes(old, id);
            if self.connections[&id].stage == Stage::Ready && has_room && !self.of(&peer).any(waits) {
                self.up(id, peer, now);
            }
        }
    }

    /// Whether the layers above must lose `old` before they hear of `new`: one that it replaces, or that ends.
    fn precedes(&self, old: ConnectionId, new: ConnectionId) -> bool {
        let (old, new) = (&self.connections[&old], &self.connections[&new]);
        old.told && (old.incarnation != new.incarnation || old.stage != Stage::Up && !new.beside)
    }

    fn up(&mut self, id: ConnectionId, peer: PeerId, now: Duration) {
        self.counts.admitted += 1;
        self.edit(id, |c| {
            (c.stage, c.told, c.up_since) = (Stage::Up, true, Some(now));
            (c.deadline, c.probe) = (None, None);
        });
        self.refuse_waiting(peer, now);
        self.actions.push(Action::Up { connection: id });
        if self.dials.remove(&peer) {
            self.actions.push(Action::DialDone { peer, result: Ok(id) });
        }
    }

    pub(super) fn pong(&mut self, id: ConnectionId, number: u64, now: Duration) {
        let mut alive = None;
        self.edit(id, |c| {
            if c.stage == Stage::Up && c.probe.is_some_and(|(asked, _)| asked == number) {
                c.probe = None;
                alive = Some(c.peer);
            }
        });
        if let Some(peer) = alive {
            self.refuse_waiting(peer, now);
        }
    }

    pub(super) fn wrong_version(&mut self, id: ConnectionId, theirs: u16, now: Duration) {
        self.refuse(id, Refusal::Version { theirs }, now);
    }

    pub(super) fn tick(&mut self, now: Duration) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        let late: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, c)| due(c.deadline)).map(|(id, _)| *id).collect();
        for id in late {
            self.overdue(id);
        }
        let silent: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, c)| due(c.probe.map(|p| p.1))).map(|(id, _)| *id).collect();
        for id in silent {
            self.edit(id, |c| c.probe = None);
            self.counts.replaced += 1;
            self.fail(id, CloseCode::Silent, DialFailure::Timeout);
        }
        let peers: Vec<PeerId> = self.by_peer.keys().copied().collect();
        for peer in peers {
            self.settle(peer, now);
        }
    }

    pub(super) fn closed(&mut self, id: ConnectionId, cause: LinkError, now: Duration) {
        let Some(gone) = self.remove(id) else { return };
        if gone.told {
            self.counts.ended += 1;
            self.actions.push(Action::Down { connection: id, cause: cause.clone() });
        }
        // One that was refused or closed from here has said so already, with a better reason.
        if gone.is_hopeful() {
            self.dial_ended(gone.peer, cause.into());
        }
        self.settle(gone.peer, now);
    }
}
