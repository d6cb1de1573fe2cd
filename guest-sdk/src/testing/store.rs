//! A plugin's store in a test: what is committed, what the turn has staged, and what a crash may take back.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;

use crate::abi::{Page, Range};

type Key = Vec<u8>;
type Value = Vec<u8>;
type View<'a> = Peekable<Box<dyn Iterator<Item = (&'a Key, Option<&'a Value>)> + 'a>>;

/// What one commit replaced.
struct Undo {
    at_us: u64,
    before: Vec<(Key, Option<Value>)>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct TestStore {
    kept: BTreeMap<Key, Value>,
    staged: BTreeMap<Key, Option<Value>>,
    /// Bytes of what is committed, and of that with what is staged.
    kept_bytes: u64,
    bytes: u64,
    /// The commits that the disk may not have yet, oldest first; none are noted unless `can_lose`.
    undo: VecDeque<Undo>,
    pub(crate) can_lose: bool,
}

impl TestStore {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        match self.staged.get(key) {
            Some(staged) => staged.as_ref(),
            None => self.kept.get(key),
        }
    }

    /// Keys and values together, staged ones included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn stage(&mut self, key: Key, value: Option<Value>) {
        let before = self.get(&key).map_or(0, |value| key.len() + value.len());
        let after = value.as_ref().map_or(0, |value| key.len() + value.len());
        self.bytes = (self.bytes + after as u64).saturating_sub(before as u64);
        self.staged.insert(key, value);
    }

    /// Forgets what is staged.
    pub(crate) fn discard(&mut self) {
        self.staged.clear();
        self.bytes = self.kept_bytes;
    }

    /// Makes what is staged true.
    pub(crate) fn commit(&mut self, at_us: u64) {
        if self.staged.is_empty() {
            return;
        }
        let mut before = Vec::new();
        for (key, value) in std::mem::take(&mut self.staged) {
            let old = match value {
                Some(value) => self.kept.insert(key.clone(), value),
                None => self.kept.remove(&key),
            };
            if self.can_lose {
                before.push((key, old));
            }
        }
        self.kept_bytes = self.bytes;
        if self.can_lose {
            self.undo.push_back(Undo { at_us, before });
        }
    }

    /// The disk has everything up to this moment.
    pub(crate) fn synced(&mut self, up_to_us: u64) {
        while self.undo.pop_front_if(|undo| undo.at_us <= up_to_us).is_some() {}
    }

    /// Takes back the commits after this moment that the disk does not have: how many.
    pub(crate) fn lose(&mut self, after_us: u64) -> usize {
        self.discard();
        let mut lost = 0;
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.at_us > after_us) {
            lost += 1;
            for (key, value) in undo.before {
                match value {
                    Some(value) => drop(self.kept.insert(key, value)),
                    None => drop(self.kept.remove(&key)),
                }
            }
        }
        self.undo.clear();
        self.kept_bytes = self.kept.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        self.bytes = self.kept_bytes;
        lost
    }

    pub(crate) fn scan(&self, range: &Range, limit: usize, max_bytes: usize) -> Page {
        let mut page = Page { entries: Vec::new(), more: false };
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return page;
        }
        let mut bytes = 0;
        for (key, value) in self.view(range) {
            bytes += key.len() + value.len();
            let first = page.entries.is_empty();
            if !first && (bytes > max_bytes || page.entries.len() >= limit) {
                page.more = true;
                break;
            }
            page.entries.push((key.clone(), value.clone()));
        }
        page
    }

    /// Everything that is committed.
    pub(crate) fn kept(&self) -> &BTreeMap<Key, Value> {
        &self.kept
    }

    fn view(&self, range: &Range) -> Merged<'_> {
        let end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(range.start.clone()), end);
        let kept = self.kept.range(bounds.clone()).map(|(key, value)| (key, Some(value)));
        let staged = self.staged.range(bounds).map(|(key, value)| (key, value.as_ref()));
        let (kept, staged): (View<'_>, View<'_>) = if range.reverse {
            (boxed(kept.rev()).peekable(), boxed(staged.rev()).peekable())
        } else {
            (boxed(kept).peekable(), boxed(staged).peekable())
        };
        Merged { kept, staged, reverse: range.reverse }
    }
}

fn boxed<'a, T: 'a>(iterator: impl Iterator<Item = T> + 'a) -> Box<dyn Iterator<Item = T> + 'a> {
    Box::new(iterator)
}

/// Both layers in order; where they have the same key, what is staged wins.
struct Merged<'a> {
    kept: View<'a>,
    staged: View<'a>,
    reverse: bool,
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a Key, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.kept.peek(), self.staged.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((kept, _)), Some((staged, _))) if self.reverse => staged.cmp(kept),
                (Some((kept, _)), Some((staged, _))) => kept.cmp(staged),
            };
            let (key, value) = if order.is_lt() {
                self.kept.next()?
            } else {
                if order.is_eq() {
                    self.kept.next();
                }
                self.staged.next()?
            };
            if let Some(value) = value {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reverse: bool) -> Range {
        Range { start: Vec::new(), end: None, reverse }
    }

    #[test]
    fn staged_writes_lie_on_top_in_both_directions() {
        let mut store = TestStore::default();
        for key in [1, 2, 3] {
            store.stage(vec![key], Some(vec![key]));
        }
        store.commit(0);
        store.stage(vec![2], None);
        store.stage(vec![4], Some(vec![9]));
        let keys = |page: Page| page.entries.into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
        assert_eq!(keys(store.scan(&all(false), 10, 100)), [1, 3, 4]);
        assert_eq!(keys(store.scan(&all(true), 10, 100)), [4, 3, 1]);
        let page = store.scan(&all(false), 2, 100);
        assert!(page.more);
        assert_eq!(store.bytes(), 6);
        store.discard();
        assert_eq!(store.bytes(), 6);
        assert_eq!(keys(store.scan(&all(false), 10, 100)), [1, 2, 3]);
    }

    #[test]
    fn a_crash_takes_back_a_suffix_of_commits() {
        let mut store = TestStore { can_lose: true, ..TestStore::default() };
        for at in 1..=4_u8 {
            store.stage(b"n".to_vec(), Some(vec![at]));
            store.commit(at.into());
        }
        store.synced(2);
        assert_eq!(store.lose(1), 2);
        assert_eq!(store.get(b"n"), Some(&vec![2]));
        assert_eq!(store.lose(0), 0);
    }
}
