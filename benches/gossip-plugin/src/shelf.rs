//! The items that came last, in memory: nobody asks for a message of yesterday.

use std::collections::VecDeque;

use weir_sdk::collections::HashMap;
use weir_sdk::gossip::{Each, ItemId, Items, Place};
use weir_sdk::prelude::*;

use crate::batch::Batch;

/// Bytes that are kept, for peers that lack something: more than a second of what is published here.
const MOST: usize = 12 << 20;

/// See the module.
#[derive(Default)]
pub struct Shelf {
    items: HashMap<ItemId, Vec<u8>>,
    order: VecDeque<ItemId>,
    bytes: usize,
}

impl Items for Shelf {
    fn id(&self, bytes: &[u8]) -> ItemId {
        Batch::read(bytes).map_or_else(|| ItemId::of(bytes), |batch| batch.id())
    }

    fn get(&self, id: &ItemId, _: &Context) -> Option<Vec<u8>> {
        self.items.get(id).cloned()
    }

    fn put(&mut self, place: Place, bytes: &[u8], _: &Context) -> Result<Vec<ItemId>> {
        if self.items.insert(place.id, bytes.to_vec()).is_none() {
            self.order.push_back(place.id);
            self.bytes += bytes.len();
        }
        let mut gone = Vec::new();
        while self.bytes > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.items.remove(&oldest).map_or(0, |bytes| bytes.len());
            gone.push(oldest);
        }
        Ok(gone)
    }

    fn load_on(&mut self, _: Option<Vec<u8>>, _: Each<'_>, _: &Context) -> Result<Option<Vec<u8>>> {
        // An instance begins with none.
        Ok(None)
    }
}
