//! What was seen before, in bounded memory: two generations, of which the older is forgotten when the younger is full.

use super::item::ItemId;
use crate::collections::HashSet;

/// See the module. It remembers at least the last `most` ids and at most twice as many.
pub(super) struct Seen {
    most: usize,
    young: HashSet<ItemId>,
    old: HashSet<ItemId>,
}

impl Seen {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), young: HashSet::default(), old: HashSet::default() }
    }

    pub(super) fn contains(&self, id: &ItemId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    pub(super) fn insert(&mut self, id: ItemId) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    pub(super) fn remove(&mut self, id: &ItemId) {
        self.young.remove(id);
        self.old.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_no_more_than_twice_as_many() {
        let _inside = crate::backend::enter(crate::testing::Imports::new(crate::testing::Node::new(1)));
        let mut seen = Seen::new(10);
        let id = |number: u32| ItemId::of(&number.to_le_bytes());
        for number in 0..1_000 {
            seen.insert(id(number));
            assert!((number.saturating_sub(9)..=number).all(|number| seen.contains(&id(number))));
            assert!(seen.young.len() + seen.old.len() <= 20);
        }
        assert!(!seen.contains(&id(970)));
    }
}
