//! News of the connections: peers that come and go, what they push, and deliberate closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::AskError;
use super::manager::{Core, Inner, PeerLink, lock};
use super::set::SetError;
use super::state::Action;
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::peer::PeerId;
use crate::transport::LinkAcceptor;
use crate::wire::{CloseCode, Control, Hello, SetChange};

impl Inner {
    pub(super) fn connection_up(
        self: &Arc<Self>,
        connection: ConnectionHandle,
        hello: Hello,
        acceptor: LinkAcceptor,
        sent_sequence: u64,
    ) {
        let mut core = lock(&self.core);
        let (peer, id, incarnation) = (connection.peer, connection.id, hello.incarnation);
        let actions = match core.state.peer_up(peer, incarnation, hello.sequence, hello.protocols) {
            Ok(actions) => actions,
            Err(wrong) => {
                core.stats.violations += 1;
                warn!(%peer, %wrong, "the peer's protocol set breaks a rule; closing the connection");
                connection.link.close(CloseCode::ProtocolViolation);
                return;
            }
        };
        let (shut, open): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Shut { .. }));
        // Lanes first, pools later: what is queued by the numbers of an earlier incarnation, or registration, must find
        // no stream on the new connection.
        self.apply(&mut core, shut, AskError::NotConnected);
        self.forget_predecessor(&mut core, peer, incarnation);
        let of_peer = self.pairs.admit(peer, incarnation);
        of_peer.draining.store(false, Ordering::Release);
        self.pools.add(&connection, hello.max_streams);
        self.apply(&mut core, open, AskError::Unsupported);
        of_peer.applied.set(core.state.applied(&peer).unwrap_or(0));
        self.receive.add(connection.clone(), acceptor, incarnation);
        let exchanger = self.exchange(&mut core, &connection, sent_sequence);
        let Core { state, watchers, .. } = &mut *core;
        watchers.changed(peer, state);
        core.links.insert(id, PeerLink { connection, draining: false, incarnation, exchanger });
    }

    /// Ends the streams of a peer's earlier incarnation: its lane numbers mean nothing any more.
    fn forget_predecessor(&self, core: &mut Core, peer: PeerId, incarnation: u64) {
        let of_predecessor = |link: &PeerLink| link.connection.peer == peer && link.incarnation != incarnation;
        for (id, _) in core.links.extract_if(.., |_, link| of_predecessor(link)) {
            self.receive.remove(id);
            self.pools.remove(id);
        }
    }

    pub(super) fn connection_down(self: &Arc<Self>, connection: ConnectionId, peer: PeerId, last: bool) {
        let mut core = lock(&self.core);
        core.links.remove(&connection);
        self.note_draining(&core, &peer);
        self.receive.remove(connection);
        self.pools.remove(connection);
        if last {
            // From here on it is not connected; that its pairs are shut one by one must not look like anything else.
            if let Some(of_peer) = self.pairs.peer(&peer) {
                of_peer.draining.store(true, Ordering::Release);
            }
            let actions = core.state.peer_down(&peer);
            self.apply(&mut core, actions, AskError::NotConnected);
            self.pairs.forget(&peer);
            let Core { state, watchers, .. } = &mut *core;
            watchers.changed(peer, state);
        }
    }

    pub(super) fn control(self: &Arc<Self>, connection: ConnectionId, peer: PeerId, message: Control) {
        match message {
            Control::Protocols { incarnation, sequence, change } => {
                self.peer_changed(connection, peer, incarnation, sequence, change);
            }
            Control::ProtocolsApplied { incarnation, sequence } if incarnation == self.incarnation => {
                self.acknowledged(&mut lock(&self.core), connection, sequence);
            }
            Control::Abandon { stream } => self.receive.abandon(connection, stream),
            Control::StreamProgress { stream, frames } => self.pools.progress(connection, stream, frames),
            Control::StreamEnded { stream, frames, outcome } => {
                self.pools.ended(connection, stream, frames, outcome);
            }
            _ => {}
        }
    }

    fn peer_changed(
        self: &Arc<Self>,
        connection: ConnectionId,
        peer: PeerId,
        incarnation: u64,
        sequence: u64,
        change: SetChange,
    ) {
        let mut core = lock(&self.core);
        if !core.links.contains_key(&connection) {
            return;
        }
        let newer = core.state.applied(&peer).is_some_and(|applied| sequence > applied);
        match core.state.peer_changed(peer, incarnation, sequence, change) {
            Ok(actions) => {
                *(if newer { &mut core.stats.applied } else { &mut core.stats.outdated }) += 1;
                debug!(%peer, sequence, newer, pairs = actions.len(), "the peer pushed its protocol set");
                self.apply(&mut core, actions, AskError::Unsupported);
                let Core { state, watchers, .. } = &mut *core;
                watchers.changed(peer, state);
            }
            Err(SetError::OtherBase) => {
                core.stats.other_base += 1;
                debug!(%peer, sequence, "the peer's change is to another set; asking for the full one");
            }
            Err(SetError::Stale) => {
                core.stats.stale += 1;
                debug!(%peer, sequence, "the peer's change is of another incarnation");
                return;
            }
            Err(SetError::Violation(wrong)) => {
                core.stats.violations += 1;
                warn!(%peer, wrong, "the peer's protocol set breaks a rule; closing the connection");
                if let Some(link) = core.links.get(&connection) {
                    link.connection.link.close(CloseCode::ProtocolViolation);
                }
                return;
            }
        }
        let applied = core.state.applied(&peer).unwrap_or(0);
        if let Some(of_peer) = self.pairs.peer(&peer) {
            of_peer.applied.set(applied);
        }
        if let Some(link) = core.links.get(&connection) {
            link.connection.control.send(Control::ProtocolsApplied { incarnation, sequence: applied });
        }
    }

    pub(super) fn drain(self: &Arc<Self>, connection: ConnectionId) {
        let (connection, lanes) = {
            let mut core = lock(&self.core);
            let Some(link) = core.links.get_mut(&connection) else { return };
            link.draining = true;
            let connection = link.connection.clone();
            // While another connection stays, its lanes go on there and none of them has to come to an end.
            let last = self.note_draining(&core, &connection.peer);
            let lanes = if last { self.pairs.lanes_of(&connection.peer) } else { Vec::new() };
            (connection, lanes)
        };
        let pools = self.pools.clone();
        // The connection layer sets the deadline; when it closes, lanes and pool are done, too.
        self.tasks.spawn(async move {
            for lane in lanes {
                lane.flush().await;
            }
            pools.drain(connection.id).await;
            connection.drained();
        });
    }

    /// Nothing new is sent to a peer all of whose connections are being closed on purpose; whether that is so.
    fn note_draining(&self, core: &Core, peer: &PeerId) -> bool {
        let draining = core.links.values().all(|link| link.connection.peer != *peer || link.draining);
        if let Some(of_peer) = self.pairs.peer(peer) {
            of_peer.draining.store(draining, Ordering::Release);
        }
        draining
    }
}
