//! The merged view against an ordered map: staged writes over the overlay over the disk.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Durability, MemoryDisk, Page, ScanRange, StagedWrites, Store, StoreLimits};
use super::run;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Mark,
    Rewind(usize),
    Commit(bool),
    Forget,
    Purge,
    Sync,
    Reopen,
    Get(Vec<u8>),
    Scan { start: Vec<u8>, end: Option<Vec<u8>>, reverse: bool, limit: usize, max_bytes: usize },
}

/// Few keys, so that steps meet; some are prefixes of others, one is empty.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 255]), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), prop::collection::vec(any::<u8>(), 0..6)).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Remove),
        2 => Just(Step::Mark),
        2 => any::<usize>().prop_map(Step::Rewind),
        3 => any::<bool>().prop_map(Step::Commit),
        1 => Just(Step::Forget),
        1 => Just(Step::Purge),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        3 => key().prop_map(Step::Get),
        6 => (key(), prop::option::of(key()), any::<bool>(), 0_usize..6, 0_usize..30).prop_map(
            |(start, end, reverse, limit, max_bytes)| Step::Scan { start, end, reverse, limit, max_bytes }
        ),
    ]
}

fn expected_page(map: &Map, range: ScanRange<'_>, limit: usize, max_bytes: usize) -> Page {
    let inside = |key: &[u8]| key >= range.start && range.end.is_none_or(|end| key < end);
    let mut found: Vec<_> = map.iter().filter(|(key, _)| inside(key)).collect();
    if range.reverse {
        found.reverse();
    }
    let (mut page, mut bytes) = (Page::default(), 0);
    for (key, value) in found {
        bytes += key.len() + value.len();
        if !page.entries.is_empty() && (page.entries.len() >= limit || bytes > max_bytes) {
            page.more = true;
            break;
        }
        page.entries.push((key.clone(), value.clone()));
    }
    page
}

fn size(map: &Map) -> u64 {
    map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// What a store does and what it should.
struct Pair {
    disk: MemoryDisk,
    store: Store,
    staged: StagedWrites,
    committed: Map,
    turn: Map,
    marks: Vec<(super::super::Mark, Map)>,
}

fn open(disk: &MemoryDisk) -> (Store, StagedWrites) {
    let store = Store::in_memory(disk);
    let staged = StagedWrites::new(store.namespace("a"), StoreLimits::default());
    (store, staged)
}

impl Pair {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let (store, staged) = open(&disk);
        Self { disk, store, staged, committed: Map::new(), turn: Map::new(), marks: Vec::new() }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put(key, value) => {
                self.staged.put(key.clone(), value.clone()).expect("room");
                self.turn.insert(key, value);
            }
            Step::Remove(key) => {
                self.staged.remove(&key).expect("room");
                self.turn.remove(&key);
            }
            Step::Mark => self.marks.push((self.staged.mark(), self.turn.clone())),
            Step::Rewind(which) if !self.marks.is_empty() => {
                self.marks.truncate(which % self.marks.len() + 1);
                let (mark, map) = self.marks.pop().expect("a mark");
                self.staged.rewind(mark);
                self.turn = map;
            }
            Step::Commit(strict) => {
                let durability = if strict { Durability::Strict } else { Durability::Relaxed };
                let batch = self.staged.take();
                self.store.namespace("a").commit(batch, durability).await.expect("a working store");
                self.committed = self.turn.clone();
                self.marks.clear();
            }
            Step::Forget => self.forget(),
            Step::Purge => {
                self.forget();
                self.store.namespace("a").purge(Durability::Relaxed).await.expect("a working store");
                (self.committed, self.turn) = (Map::new(), Map::new());
            }
            Step::Sync => self.store.sync().await.expect("a working store"),
            Step::Reopen => {
                self.forget();
                self.store.close().await.expect("a working store");
                (self.store, self.staged) = open(&self.disk);
            }
            Step::Get(key) => assert_eq!(self.staged.get(&key).expect("readable"), self.turn.get(&key).cloned()),
            Step::Scan { start, end, reverse, limit, max_bytes } => {
                let range = ScanRange { start: &start, end: end.as_deref(), reverse };
                let page = self.staged.scan(range, limit, max_bytes).expect("readable");
                assert_eq!(page, expected_page(&self.turn, range, limit, max_bytes));
            }
            Step::Rewind(_) => {}
        }
        assert_eq!(self.staged.used(), size(&self.turn));
        assert_eq!(self.store.namespace("a").used(), size(&self.committed));
    }

    fn forget(&mut self) {
        self.staged.clear();
        self.turn = self.committed.clone();
        self.marks.clear();
    }
}

proptest! {
    #[test]
    fn the_merged_view_is_that_of_a_map(steps in prop::collection::vec(step(), 1..60)) {
        run(async {
            let mut pair = Pair::new();
            // A neighbour whose keys lie around: nothing of it may show.
            super::set(&pair.store.namespace("b"), b"neighbour", b"x", Durability::Strict).await.expect("a working store");
            for step in steps {
                pair.step(step).await;
            }
            pair.forget();
            assert_eq!(super::all(&pair.store.namespace("a")), pair.committed.into_iter().collect::<Vec<_>>());
        });
    }
}

/// A case that random steps found: even an entry of no bytes does not follow one above the limit.
#[test]
fn nothing_follows_a_first_entry_above_the_limit() {
    run(async {
        let mut pair = Pair::new();
        pair.step(Step::Put(vec![0], vec![])).await;
        pair.step(Step::Put(vec![], vec![])).await;
        pair.step(Step::Scan { start: vec![], end: None, reverse: true, limit: 2, max_bytes: 0 }).await;
    });
}

#[test]
fn limits_are_told_and_nothing_is_staged() {
    use super::super::PutError;
    let store = Store::in_memory(&MemoryDisk::default());
    let limits = StoreLimits { max_key: 4, max_value: 8, quota: 20, max_turn: 500 };
    let mut staged = StagedWrites::new(store.namespace("a"), limits);
    assert!(matches!(staged.put(vec![0; 5], vec![]), Err(PutError::KeyTooLong { size: 5, limit: 4 })));
    assert!(matches!(staged.put(vec![0; 4], vec![0; 9]), Err(PutError::ValueTooLarge { size: 9, limit: 8 })));
    assert!(staged.is_empty());
    staged.put(vec![1; 4], vec![0; 8]).expect("12 of 20");
    assert!(matches!(staged.put(vec![2; 4], vec![0; 8]), Err(PutError::OverQuota { used: 24, quota: 20 })));
    staged.put(vec![1; 4], vec![0; 7]).expect("replacing takes no more");
    staged.put(vec![1; 4], vec![0; 8]).expect("12 of 20");
    assert!(matches!(staged.put(vec![1; 4], vec![0; 8]), Err(PutError::OverTurn { limit: 500, .. })));
    assert_eq!(staged.used(), 12);
}

#[cfg(feature = "simulation")]
#[test]
fn what_was_written_is_told_in_order() {
    let disk = MemoryDisk::default();
    let (_store, mut staged) = open(&disk);
    let mut marks = Vec::new();
    let steps: [(&str, Option<&str>); 6] =
        [("a", Some("1")), ("b", None), ("a", Some("2")), ("b", Some("3")), ("a", None), ("c", None)];
    for (key, value) in steps {
        marks.push(staged.mark());
        match value {
            Some(value) => staged.put(key.as_bytes().to_vec(), value.as_bytes().to_vec()).expect("room"),
            None => staged.remove(key.as_bytes()).expect("room"),
        }
    }
    let told = staged.history(&marks).into_iter().map(|write| {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        write.map(|(key, value)| (text(key), value.map(text)))
    });
    let told: Vec<_> = told.collect();
    // Twice there was nothing to remove.
    let written = |key: &str, value: Option<&str>| Some((key.to_owned(), value.map(str::to_owned)));
    let a = |value| written("a", value);
    assert_eq!(told, [a(Some("1")), None, a(Some("2")), written("b", Some("3")), a(None), None]);
}
