//! The ledger's own tables as the gossip's items: what is pending is reconciled, everything kept is served.

use weir_ledger::{Ordered, PluginStore};
use weir_sdk::gossip::{ItemId, Items, Place};
use weir_sdk::{Context, Result};

use crate::items::{Item, Proof};
use crate::ledger::pending;
use crate::{Meta, layout};

/// Pending operations read at once.
const PAGE: usize = 1_000;

/// See the module. The ledger stores what it accepts itself, with the verdict.
pub(super) struct LedgerItems {
    /// Where the ledger stood when the instance began: what was open then is loaded.
    pub(super) meta: Meta,
}

impl Items for LedgerItems {
    fn id(&self, bytes: &[u8]) -> ItemId {
        Item::decode(bytes).map_or_else(|_| ItemId::of(bytes), |item| ItemId(item.id().0))
    }

    fn get(&self, id: &ItemId, ctx: &Context) -> Option<Vec<u8>> {
        PluginStore::new(ctx).get(&layout::item(weir_ledger::Id(id.0)))
    }

    fn put(&mut self, _: Place, _: &[u8], _: &Context) -> Result<Vec<ItemId>> {
        Ok(Vec::new())
    }

    fn load(&mut self, each: &mut dyn FnMut(Place) -> bool, ctx: &Context) -> Result {
        let store = PluginStore::new(ctx);
        for (_, bytes) in store.prefix(layout::PROOFS, PAGE) {
            if let Ok(proof) = Proof::decode(&bytes)
                && self.meta.closed_account(proof.account(), &store).is_none_or(|account| account.frozen.is_none())
                && !each(Place { stamp: 0, id: ItemId(proof.id().0) })
            {
                return Ok(());
            }
        }
        let mut after = None;
        loop {
            let found = pending(after.as_ref(), PAGE, &store);
            if !found.iter().all(|(_, _, id)| each(Place { stamp: 0, id: ItemId(id.0) })) || found.len() < PAGE {
                return Ok(());
            }
            after = found.last().copied();
        }
    }
}
