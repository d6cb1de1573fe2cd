//! Carries out what the state decided: pairs of peer and protocol are opened and shut, with their lanes, and told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::debug;

use super::manager::{Core, Inner, lock};
use super::outbound::Notices;
use super::pairs::Pair;
use super::requests::Asker;
use super::state::Action;
use super::{AskError, News, ProtocolId};
use crate::peer::PeerId;

impl Inner {
    /// Carries out what the state decided; asks that end with a pair end with `why`.
    pub(super) fn apply(self: &Arc<Self>, core: &mut Core, actions: Vec<Action>, why: AskError) {
        self.sequence.store(core.state.sequence(), Ordering::Release);
        for action in actions {
            match action {
                Action::Open { peer, protocol, registration, max_message } => {
                    self.open_pair(peer, &protocol, registration, max_message);
                }
                Action::Shut { peer, protocol } => self.shut_pair(peer, &protocol, &why),
                Action::Announce => self.announce(core),
            }
        }
    }

    fn open_pair(self: &Arc<Self>, peer: PeerId, protocol: &ProtocolId, remote_registration: u64, max_message: u32) {
        let (Some(of_peer), Some(registration)) = (self.pairs.peer(&peer), self.registry.named(protocol)) else {
            return;
        };
        let closed = registration.closed.child_token();
        let (budget, notices) = (registration.budget.clone(), Notices::of(peer, &registration, &self.traffic));
        let lane = self.lanes.open(peer, remote_registration, budget, notices);
        let pair = Pair { registration: registration.clone(), remote_registration, max_message, lane, closed };
        of_peer.insert(protocol.clone(), pair);
        debug!(%peer, %protocol, "peer supports the protocol");
        registration.handler().news(News::Supported { peer, protocol: protocol.clone(), max_message });
    }

    fn shut_pair(&self, peer: PeerId, protocol: &ProtocolId, why: &AskError) {
        let Some(pair) = self.pairs.peer(&peer).and_then(|of_peer| of_peer.remove(protocol)) else { return };
        pair.closed.cancel();
        pair.lane.close();
        debug!(%peer, %protocol, "peer supports the protocol no longer");
        let unanswered = lock(&self.asks).drop_lane(&peer, protocol);
        unanswered.into_iter().for_each(|reply| self.traffic.end(reply, Err(why.clone())));
        let handler = pair.registration.handler();
        let asker = Asker { peer, protocol: protocol.clone() };
        let withdrawn = lock(&self.requests).drop_lane(&asker);
        withdrawn.into_iter().for_each(|token| handler.news(News::Withdrawn(token)));
        handler.news(News::Unsupported { peer, protocol: protocol.clone() });
    }
}
