//! Carries out what the exchangers decided: one for each connection, all of them fed by one set.

use std::time::Instant;

use tracing::{debug, warn};

use super::state::Why;
use super::{ExchangeStats, Exchanger, Give};
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::protocol::manager::{Core, Inner};
use crate::protocol::state::State;
use crate::wire::{CloseCode, Control, SetChange};

impl Inner {
    /// The local set has changed: whoever is not busy with an earlier change hears it now.
    pub(in crate::protocol) fn announce(&self, core: &mut Core) {
        let now = tokio::time::Instant::now().into_std();
        let Core { state, links, stats, .. } = core;
        for link in links.values_mut() {
            let give = link.exchanger.changed(state.sequence(), now);
            if give == Give::Nothing && link.exchanger.unacknowledged().is_some() {
                stats.coalesced += 1;
            }
            self.give(state, stats, &link.connection, give);
        }
    }

    /// The exchanger of a new connection, whose hello carried our set as of `sent`; what changed since is pushed.
    pub(in crate::protocol) fn exchange(&self, core: &mut Core, connection: &ConnectionHandle, sent: u64) -> Exchanger {
        let mut exchanger = Exchanger::new(sent);
        let give = exchanger.changed(core.state.sequence(), tokio::time::Instant::now().into_std());
        self.give(&core.state, &mut core.stats, connection, give);
        exchanger
    }

    /// A peer says what it has applied of our set.
    pub(in crate::protocol) fn acknowledged(&self, core: &mut Core, connection: ConnectionId, applied: u64) {
        let Core { state, links, stats, .. } = core;
        let Some(link) = links.get_mut(&connection) else { return };
        let pushed = link.exchanger.unacknowledged();
        let give = link.exchanger.applied(applied, state.sequence(), tokio::time::Instant::now().into_std());
        match (pushed, give) {
            (_, Give::Up(_)) => {}
            (Some(pushed), _) if applied >= pushed => stats.acknowledged += 1,
            (_, Give::Full) => stats.refused += 1,
            _ => {
                stats.redundant += 1;
                debug!(peer = %link.connection.peer, applied, ?pushed, "an acknowledgement that says nothing new");
            }
        }
        self.give(state, stats, &link.connection, give);
    }

    /// Time has passed: what was not acknowledged is sent again, or given up.
    pub(in crate::protocol) fn push_again(&self, core: &mut Core, now: Instant) {
        let Core { state, links, stats, .. } = core;
        for link in links.values_mut() {
            let give = link.exchanger.tick(state.sequence(), now);
            stats.resent += u64::from(give == Give::Full);
            self.give(state, stats, &link.connection, give);
        }
    }

    fn give(&self, state: &State, stats: &mut ExchangeStats, connection: &ConnectionHandle, give: Give) {
        let change = match give {
            Give::Nothing => return,
            Give::Since(base) => state.change_since(base).unwrap_or_else(|| state.full()),
            Give::Full => state.full(),
            Give::Up(why) => return give_up(stats, connection, why),
        };
        let (incarnation, sequence) = (self.incarnation, state.sequence());
        let (full, entries) = match &change {
            SetChange::Full { protocols } => (true, protocols.len()),
            SetChange::Difference { added, removed, .. } => (false, added.len() + removed.len()),
        };
        stats.pushes += 1;
        *(if full { &mut stats.full } else { &mut stats.differences }) += 1;
        stats.entries += entries as u64;
        debug!(peer = %connection.peer, sequence, full, entries, "pushing the protocol set");
        connection.control.send(Control::Protocols { incarnation, sequence, change });
    }
}

fn give_up(stats: &mut ExchangeStats, connection: &ConnectionHandle, why: Why) {
    stats.given_up += 1;
    let peer = connection.peer;
    match why {
        Why::Silent => {
            warn!(%peer, "the peer never acknowledged our protocol set; closing the connection");
            connection.link.close(CloseCode::ControlStalled);
        }
        Why::Ahead => {
            warn!(%peer, "the peer acknowledges a protocol set that does not exist; closing the connection");
            connection.link.close(CloseCode::ProtocolViolation);
        }
    }
}
