//! Carries out what the exchangers decided: one for each connection, all of them fed by one set.

use tokio::time::Instant;
use tracing::warn;

use super::Give;
use crate::connection::ConnectionHandle;
use crate::protocol::manager::{Core, Inner};
use crate::protocol::state::State;
use crate::wire::{CloseCode, Control};

impl Inner {
    pub(in crate::protocol) fn announce(&self, core: &mut Core) {
        let now = Instant::now().into_std();
        let Core { state, links, .. } = core;
        for link in links.values_mut() {
            let give = link.exchanger.changed(state.sequence(), now);
            self.give(state, &link.connection, give);
        }
    }

    pub(in crate::protocol) fn give(&self, state: &State, connection: &ConnectionHandle, give: Give) {
        let change = match give {
            Give::Nothing => return,
            Give::Since(base) => state.change_since(base).unwrap_or_else(|| state.full()),
            Give::Full => state.full(),
            Give::Up => {
                warn!(peer = %connection.peer, "the peer never applied our protocol set; closing the connection");
                connection.link.close(CloseCode::ProtocolViolation);
                return;
            }
        };
        let (incarnation, sequence) = (self.incarnation, state.sequence());
        connection.control.send(Control::Protocols { incarnation, sequence, change });
    }
}
