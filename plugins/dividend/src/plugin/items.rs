//! The pot's own tables as the gossip's items. What nodes compare by them is open declarations, which are few; claims are
//! compared by their hashes (see [`super::claims`]).

use weir_ledger::{Id, Ordered, PluginStore};
use weir_sdk::gossip::{Each, ItemId, Items, Place};
use weir_sdk::{Context, Result};

use crate::items::Item;
use crate::layout;
use crate::pot::Pot;

/// See the module. The pot stores what it accepts itself, with the verdict.
pub(super) struct PotItems;

impl Items for PotItems {
    fn id(&self, bytes: &[u8]) -> ItemId {
        Item::decode(bytes).map_or_else(|_| ItemId::of(bytes), |item| ItemId(item.id().0))
    }

    fn get(&self, id: &ItemId, ctx: &Context) -> Option<Vec<u8>> {
        PluginStore::new(ctx).get(&layout::item(Id(id.0)))
    }

    fn put(&mut self, _: Place, _: &[u8], _: &Context) -> Result<Vec<ItemId>> {
        Ok(Vec::new())
    }

    fn load_on(&mut self, _: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>> {
        for id in Pot::open_declarations(&PluginStore::new(ctx)) {
            // They are stored by payer and compared by id: that there is no room for one says nothing of the next.
            each(Place { stamp: 0, id: ItemId(id.0) });
        }
        Ok(None)
    }
}
