//! Where the items are: the plugin's store, or whatever else a protocol keeps them in.

use super::item::{ItemId, Place};
use crate::{Context, Error, Result};

/// Is told where an item is; says whether there was room for it.
pub type Each<'a> = &'a mut dyn FnMut(Place) -> bool;

/// Keeps the items of one gossip. [`StoreItems`] does for most protocols; one that keeps them in tables of its own
/// implements it on those.
pub trait Items {
    /// The name of these bytes. It must follow from the bytes alone, and on all nodes alike. Where it covers only
    /// a part of them, two items of one name may differ in the rest: the first that is accepted counts.
    fn id(&self, bytes: &[u8]) -> ItemId {
        ItemId::of(bytes)
    }

    /// Where the item stands among the others: nodes compare their sets in this order, newest last, and a set that is
    /// too large to compare loses its oldest. It must follow from the bytes alone. A protocol whose senders choose
    /// it must reject stamps from the future, or one of them pushes out everything else.
    fn stamp(&self, bytes: &[u8]) -> u64 {
        let _ = bytes;
        0
    }

    /// The item's bytes.
    fn get(&self, id: &ItemId, ctx: &Context) -> Option<Vec<u8>>;

    /// Keeps an accepted item. Called at the end of the turn that accepted it. Returns what had to go for it.
    ///
    /// # Errors
    /// When it cannot be kept. The item counts as unknown then.
    fn put(&mut self, place: Place, bytes: &[u8], ctx: &Context) -> Result<Vec<ItemId>>;

    /// All items, newest first, until `each` says false: nothing older is wanted then. Where they cannot be read in this
    /// order, all of them whatever it says. Called once when the instance starts. Unless it is written, it is
    /// [`Items::load_on`] from the beginning to the end.
    ///
    /// # Errors
    /// When what is stored makes no sense.
    fn load(&mut self, each: Each<'_>, ctx: &Context) -> Result {
        let mut after = None;
        loop {
            after = self.load_on(after, each, ctx)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The same, as much of it as one turn should read, when there were too many items to compare and now are fewer:
    /// from the beginning, or behind where the call before ended. Returns where that is, and nothing at the end.
    ///
    /// # Errors
    /// When what is stored makes no sense.
    fn load_on(&mut self, after: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>>;
}

/// Places read in one turn when the index is filled again.
const PAGE: usize = 1_000;

/// Items under a prefix of the plugin's store, with a bound: beyond it the oldest go.
///
/// Below the prefix, `b` and the id hold the stamp and the bytes, `p`, the stamp and the id hold nothing: the order,
/// which starts and evictions read without the bytes.
pub struct StoreItems {
    prefix: Vec<u8>,
    most: usize,
    count: usize,
    stamp: fn(&[u8]) -> u64,
}

impl StoreItems {
    /// At most `most` items under this prefix, all with the stamp 0.
    pub fn new(prefix: impl Into<Vec<u8>>, most: usize) -> Self {
        Self { prefix: prefix.into(), most: most.max(1), count: 0, stamp: |_| 0 }
    }

    /// With stamps read from the bytes, see [`Items::stamp`].
    pub fn stamped(mut self, stamp: fn(&[u8]) -> u64) -> Self {
        self.stamp = stamp;
        self
    }

    fn bytes_key(&self, id: &ItemId) -> Vec<u8> {
        [&self.prefix[..], b"b", &id.0].concat()
    }

    fn place_key(&self, place: Place) -> Vec<u8> {
        [&self.prefix[..], b"p", &place.stamp.to_be_bytes(), &place.id.0].concat()
    }

    fn place(&self, key: &[u8]) -> Result<Place> {
        let damaged = || Error::new("damaged", "a key of the items has a wrong length");
        let rest = key.get(self.prefix.len() + 1..).ok_or_else(damaged)?;
        let (stamp, id) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        Ok(Place { stamp: u64::from_be_bytes(*stamp), id: ItemId(id.try_into().map_err(|_| damaged())?) })
    }

    /// Forgets an item. The gossip must forget it as well: [`super::Gossip::forget`].
    pub fn remove(&mut self, id: &ItemId, ctx: &Context) {
        let key = self.bytes_key(id);
        if let Some(stamp) = ctx.store().get_bytes(&key).and_then(|value| value.first_chunk::<8>().copied()) {
            let place = Place { stamp: u64::from_be_bytes(stamp), id: *id };
            ctx.store().remove(self.place_key(place));
            ctx.store().remove(key);
            self.count = self.count.saturating_sub(1);
        }
    }
}

impl Items for StoreItems {
    fn stamp(&self, bytes: &[u8]) -> u64 {
        (self.stamp)(bytes)
    }

    fn get(&self, id: &ItemId, ctx: &Context) -> Option<Vec<u8>> {
        let mut value = ctx.store().get_bytes(self.bytes_key(id))?;
        if value.len() < 8 {
            return None;
        }
        value.drain(..8);
        Some(value)
    }

    fn put(&mut self, place: Place, bytes: &[u8], ctx: &Context) -> Result<Vec<ItemId>> {
        let store = ctx.store();
        store.put_bytes(self.bytes_key(&place.id), &[&place.stamp.to_be_bytes(), bytes].concat())?;
        store.put_bytes(self.place_key(place), &[])?;
        self.count += 1;
        if self.count <= self.most {
            return Ok(Vec::new());
        }
        // A tenth at once, so that a full store does not look for the oldest with every item.
        let start = [&self.prefix[..], b"p"].concat();
        let end = [&self.prefix[..], b"q"].concat();
        let oldest = store.range(start, Some(end)).take(self.most / 10 + 1).map(|(key, _)| self.place(&key));
        let oldest: Vec<_> = oldest.collect::<Result<_>>()?;
        for place in &oldest {
            store.remove(self.place_key(*place));
            store.remove(self.bytes_key(&place.id));
        }
        self.count -= oldest.len();
        Ok(oldest.into_iter().map(|place| place.id).collect())
    }

    fn load(&mut self, each: Each<'_>, ctx: &Context) -> Result {
        let start = [&self.prefix[..], b"p"].concat();
        let end = [&self.prefix[..], b"q"].concat();
        let mut wanted = true;
        self.count = 0;
        for (key, _) in ctx.store().range_reverse(start, Some(end)) {
            self.count += 1;
            wanted = wanted && each(self.place(&key)?);
        }
        Ok(())
    }

    fn load_on(&mut self, after: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>> {
        let start = [&self.prefix[..], b"p"].concat();
        let end = after.unwrap_or_else(|| [&self.prefix[..], b"q"].concat());
        let page: Vec<_> = ctx.store().range_reverse(start, Some(end)).take(PAGE).map(|(key, _)| key).collect();
        for key in &page {
            if !each(self.place(key)?) {
                return Ok(None);
            }
        }
        Ok(if page.len() == PAGE { page.into_iter().last() } else { None })
    }
}
