//! The ids a node holds, in the order in which nodes compare them. Pure.
//!
//! Chunks of a few hundred places each keep the sum of their ids, so that the digest of a large range costs its chunks
//! and two partial ones, not its items. Only ranges whose digests differ are handed to `negentropy`, whose fingerprints
//! cost every item they cover.

use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase};

use super::item::{ItemId, Place};

/// Places of a chunk before it is split.
const CHUNK: usize = 256;

/// What two ranges are compared by.
pub(super) type RangeDigest = [u8; 16];

#[derive(Debug, Clone, Default)]
struct Chunk {
    places: Vec<Place>,
    sum: Sum,
}

/// The sum of ids modulo 2^256: what order they came in does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Sum {
    fn words(id: &ItemId) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(id.0.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    fn add(&mut self, words: [u64; 4]) {
        let mut carry = false;
        for (sum, word) in self.0.iter_mut().zip(words) {
            let (more, one) = sum.overflowing_add(word);
            let (more, other) = more.overflowing_add(carry.into());
            (*sum, carry) = (more, one | other);
        }
    }

    fn take(&mut self, words: [u64; 4]) {
        let mut borrow = false;
        for (sum, word) in self.0.iter_mut().zip(words) {
            let (less, one) = sum.overflowing_sub(word);
            let (less, other) = less.overflowing_sub(borrow.into());
            (*sum, borrow) = (less, one | other);
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In order, none of them empty.
    chunks: Vec<Chunk>,
    len: usize,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.chunks.first()?.places.first().copied()
    }

    /// The chunk where a place is or would be.
    fn chunk_of(&self, place: Place) -> usize {
        let after = self.chunks.partition_point(|chunk| chunk.places.first().is_some_and(|first| *first <= place));
        after.saturating_sub(1)
    }

    /// False when it was there already.
    pub(super) fn insert(&mut self, place: Place) -> bool {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::default());
        }
        let at = self.chunk_of(place);
        let chunk = &mut self.chunks[at];
        let Err(position) = chunk.places.binary_search(&place) else { return false };
        chunk.places.insert(position, place);
        chunk.sum.add(Sum::words(&place.id));
        self.len += 1;
        if chunk.places.len() > CHUNK {
            let places = chunk.places.split_off(CHUNK / 2);
            let mut sum = Sum::default();
            places.iter().for_each(|place| sum.add(Sum::words(&place.id)));
            chunk.sum.take(sum.0);
            self.chunks.insert(at + 1, Chunk { places, sum });
        }
        true
    }

    /// False when it was not there.
    pub(super) fn remove(&mut self, place: Place) -> bool {
        let at = self.chunk_of(place);
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        let Ok(position) = chunk.places.binary_search(&place) else { return false };
        chunk.places.remove(position);
        chunk.sum.take(Sum::words(&place.id));
        self.len -= 1;
        if chunk.places.is_empty() {
            self.chunks.remove(at);
        }
        true
    }

    /// How many places are before this one.
    pub(super) fn position(&self, place: Place) -> usize {
        let at = self.chunk_of(place);
        let before: usize = self.chunks.iter().take(at).map(|chunk| chunk.places.len()).sum();
        before + self.chunks.get(at).map_or(0, |chunk| chunk.places.partition_point(|other| *other < place))
    }

    /// The places from this position on.
    fn from(&self, mut position: usize) -> impl Iterator<Item = Place> + '_ {
        let mut at = 0;
        while let Some(chunk) = self.chunks.get(at)
            && position >= chunk.places.len()
        {
            position -= chunk.places.len();
            at += 1;
        }
        let rest = self.chunks.get(at..).unwrap_or_default();
        rest.iter().flat_map(|chunk| chunk.places.iter().copied()).skip(position)
    }

    /// What the range from `low`, inclusive, to `high`, exclusive, holds: equal for equal sets.
    pub(super) fn digest(&self, low: Place, high: Place) -> RangeDigest {
        let (mut sum, mut count) = (Sum::default(), 0_u64);
        for (at, chunk) in self.chunks.iter().enumerate().skip(self.chunk_of(low)) {
            let Some(first) = chunk.places.first() else { continue };
            if *first >= high {
                break;
            }
            let whole = *first >= low
                && self.chunks.get(at + 1).and_then(|next| next.places.first()).is_some_and(|next| *next <= high);
            if whole {
                sum.add(chunk.sum.0);
                count += chunk.places.len() as u64;
            } else {
                let inside = chunk.places.iter().filter(|place| low <= **place && **place < high);
                inside.for_each(|place| {
                    sum.add(Sum::words(&place.id));
                    count += 1;
                });
            }
        }
        let words = sum.0.iter().chain([&count]);
        let hash = crate::sha256(&words.flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        *hash.first_chunk().unwrap_or(&[0; 16])
    }

    /// Cuts the range into pieces of at most `most` places: their upper ends, the last of which is `high`.
    pub(super) fn cut(&self, low: Place, high: Place, most: usize) -> Vec<Place> {
        let (begin, end) = (self.position(low), self.position(high));
        let pieces = (end - begin).div_ceil(most.max(1)).max(1);
        let mut ends: Vec<_> =
            (1..pieces).filter_map(|piece| self.from(begin + (end - begin) * piece / pieces).next()).collect();
        ends.push(high);
        ends
    }

    /// The range as `negentropy` wants it.
    pub(super) fn window(&self, low: Place, high: Place) -> Window<'_> {
        let begin = self.position(low);
        Window { index: self, begin, len: self.position(high).saturating_sub(begin) }
    }
}

/// A range of the index as `negentropy` sees it.
pub(super) struct Window<'a> {
    index: &'a Index,
    begin: usize,
    len: usize,
}

fn item(place: Place) -> Item {
    Item::with_timestamp_and_id(place.stamp, Id::from_byte_array(place.id.0))
}

fn place(item: &Item) -> Place {
    Place { stamp: item.timestamp, id: ItemId(item.id.to_bytes()) }
}

impl NegentropyStorageBase for Window<'_> {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.len)
    }

    fn get_item(&self, at: usize) -> Result<Option<Item>, Error> {
        Ok(if at < self.len { self.index.from(self.begin + at).next().map(item) } else { None })
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if begin > end || end > self.len {
            return Err(Error::BadRange);
        }
        for (at, place) in (begin..end).zip(self.index.from(self.begin + begin)) {
            if !each(item(place), at)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        let at = self.index.position(place(&bound.item)).saturating_sub(self.begin);
        at.clamp(first, last.max(first))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbered(number: u16) -> Place {
        Place { stamp: u64::from(number % 7), id: ItemId::of(&number.to_le_bytes()) }
    }

    proptest! {
        #[test]
        fn an_index_is_an_ordered_set(steps in proptest::collection::vec((any::<bool>(), 0..2_000_u16), 0..3_000)) {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            for (insert, number) in steps {
                let place = numbered(number);
                if insert {
                    prop_assert_eq!(index.insert(place), model.insert(place));
                } else {
                    prop_assert_eq!(index.remove(place), model.remove(&place));
                }
            }
            prop_assert_eq!(index.len(), model.len());
            prop_assert!(index.from(0).eq(model.iter().copied()));
            let (low, high) = (numbered(17), numbered(1_003));
            let (low, high) = (low.min(high), low.max(high));
            let mut part = Index::default();
            model.range(low..high).for_each(|place| { part.insert(*place); });
            prop_assert_eq!(index.digest(low, high), part.digest(Place::FIRST, Place::LAST));
            prop_assert_eq!(index.position(low), model.range(..low).count());
            let ends = index.cut(low, high, 50);
            let mut begin = low;
            for end in ends {
                prop_assert!(model.range(begin..end).count() <= 50);
                begin = end;
            }
            prop_assert_eq!(begin, high);
        }
    }
}
