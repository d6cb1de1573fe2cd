//! The ledger's own tables as the gossip's items: what is pending is reconciled, everything kept is served.

use weir_ledger::{Ordered, PluginStore};
use weir_sdk::gossip::{Each, ItemId, Items, Place};
use weir_sdk::{Context, Result};

use crate::items::Item;
use crate::{Ledger, layout};

/// Entries of the store read at once.
const PAGE: usize = 1_000;

/// See the module. The ledger stores what it accepts itself, with the verdict.
pub(super) struct LedgerItems;

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

    fn load_on(&mut self, after: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>> {
        let (found, next) = Ledger::open_items(after.as_deref(), PAGE, &PluginStore::new(ctx));
        for id in found {
            // They are stored by account and compared by id: that there is no room for one says nothing of the next.
            each(Place { stamp: 0, id: ItemId(id.0) });
        }
        Ok(next)
    }
}
