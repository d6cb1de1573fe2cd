//! Anchored declarations that are not here, asked for by id: a request `16 ‖ id`, answered with the item or with nothing.

use std::collections::{BTreeMap, BTreeSet};

use weir_ledger::{Id, PluginStore};
use weir_sdk::prelude::*;

use super::PROTOCOL;
use crate::pot::Pot;

const WANT: u8 = 16;
const TIMEOUT_MS: u32 = 5_000;
/// Requests open at once.
const MAX_OPEN: usize = 16;

/// Who is there, and what was asked.
#[derive(Default)]
pub(super) struct Asking {
    peers: BTreeSet<PeerId>,
    open: BTreeMap<u64, (PeerId, Id)>,
    /// Asked without success since the last tick.
    refused: BTreeSet<Id>,
    turn: usize,
}

impl Asking {
    pub(super) fn on_peer(&mut self, peer: PeerId) {
        self.peers.insert(peer);
    }

    pub(super) fn on_peer_gone(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// What failed may be asked again, of somebody else.
    pub(super) fn tick(&mut self) {
        self.refused.clear();
        self.turn += 1;
    }

    pub(super) fn ask(&mut self, pot: &Pot, ctx: &Context) {
        for id in pot.missing() {
            let asked = self.open.values().any(|(_, open)| *open == id) || self.refused.contains(&id);
            if asked || self.open.len() >= MAX_OPEN || self.peers.is_empty() {
                continue;
            }
            let Some(peer) = self.peers.iter().nth(self.turn % self.peers.len()).copied() else { return };
            if let Ok(ask) = ctx.ask_bytes(peer, PROTOCOL, TIMEOUT_MS, &[&[WANT], &id.0[..]].concat()) {
                self.open.insert(ask, (peer, id));
            }
        }
    }

    /// The item that a peer answered with. None for an answer to somebody else, and for a failure.
    pub(super) fn on_response<'a>(&mut self, response: &'a Response<'_>) -> Option<(PeerId, &'a [u8])> {
        let (peer, id) = self.open.remove(&response.id)?;
        match &response.outcome {
            Ok(item) if !item.is_empty() => Some((peer, item)),
            _ => {
                self.refused.insert(id);
                None
            }
        }
    }
}

/// Answers a peer's question.
pub(super) fn serve(request: &Request<'_>, pot: &Pot, store: &PluginStore<'_>, ctx: &Context) {
    let id = request.body.split_first().filter(|(kind, _)| **kind == WANT);
    let Some(id) = id.and_then(|(_, id)| id.try_into().ok()).map(Id) else {
        ctx.refuse(request.id, Error::new("malformed", "the request is none of this protocol"));
        return;
    };
    ctx.respond_bytes(request.id, &pot.item(id, store).unwrap_or_default());
}
