//! The pot's own tables as the gossip's items: open declarations and the claims that count.

use weir_ledger::{Id, Key, Ordered, PluginStore};
use weir_sdk::gossip::{Each, ItemId, Items, Place};
use weir_sdk::{Context, Result};

use crate::items::Item;
use crate::layout;
use crate::pot::Pot;

/// Claims read at once.
const PAGE: usize = 1_000;

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

    fn load_on(&mut self, after: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>> {
        let store = PluginStore::new(ctx);
        // They are stored by payer and by account and compared by id: that there is no room for one says nothing of the next.
        let mut hold = |id: Id| {
            each(Place { stamp: 0, id: ItemId(id.0) });
        };
        if after.is_none() {
            Pot::open_declarations(&store).into_iter().for_each(&mut hold);
        }
        let behind = after.and_then(|account| account.try_into().ok()).map(Key);
        let found = Pot::claims(behind, PAGE, &store);
        found.iter().for_each(|(_, id)| hold(*id));
        Ok(found.last().filter(|_| found.len() == PAGE).map(|(account, _)| account.0.to_vec()))
    }
}
