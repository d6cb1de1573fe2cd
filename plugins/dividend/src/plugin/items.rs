//! The pot's own tables as the gossip's items: open declarations and the claims that count.

use weir_ledger::{Id, Ordered, PluginStore};
use weir_sdk::gossip::{ItemId, Items, Place};
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

    fn load(&mut self, each: &mut dyn FnMut(Place) -> bool, ctx: &Context) -> Result {
        let store = PluginStore::new(ctx);
        let mut wanted = |id: Id| each(Place { stamp: 0, id: ItemId(id.0) });
        if !Pot::open_declarations(&store).into_iter().all(&mut wanted) {
            return Ok(());
        }
        let mut after = None;
        loop {
            let found = Pot::claims(after, PAGE, &store);
            if !found.iter().all(|(_, id)| wanted(*id)) || found.len() < PAGE {
                return Ok(());
            }
            after = found.last().map(|(account, _)| *account);
        }
    }
}
