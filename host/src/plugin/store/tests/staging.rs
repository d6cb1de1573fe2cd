//! One namespace takes the place of another: wholly or not at all, whatever goes on beside it and wherever it is cut.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Durability, MemoryDisk, Namespace, Staging, Store, StoreError, StorePolicy, WriteBatch};
use super::{all, put, run, set};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(namespace: &Namespace) -> Map {
    all(namespace).into_iter().collect()
}

fn size(map: &Map) -> u64 {
    map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// Many keys, more than one piece of them.
async fn fill(namespace: &Namespace, mark: u8, keys: u32) -> Map {
    let mut map = Map::new();
    for chunk in (0..keys).collect::<Vec<_>>().chunks(2_000) {
        let mut batch = WriteBatch::default();
        for number in chunk {
            let (key, value) = (number.to_be_bytes().to_vec(), vec![mark; 1 + *number as usize % 7]);
            map.insert(key.clone(), value.clone());
            batch.put(key, value);
        }
        namespace.commit(batch, Durability::Relaxed).await.expect("a working store");
    }
    map
}

#[test]
fn a_copy_is_the_same_and_leaves_the_source_alone() {
    run(async {
        let disk = MemoryDisk::default();
        let store = Store::in_memory(&disk);
        let (from, to) = (store.namespace("from"), store.host_namespace("copy"));
        let expected = fill(&from, 1, 10_000).await;
        set(&to, b"old", b"old", Durability::Relaxed).await.expect("a working store");
        assert_eq!(from.copy_to(&to).await.expect("copied"), size(&expected));
        set(&from, b"later", b"x", Durability::Relaxed).await.expect("a working store");
        assert!(contents(&to) == expected && to.used() == size(&expected));
        assert_eq!(from.replace_with(&to).await.expect("restored"), size(&expected));
        assert_eq!((contents(&from) == expected, from.used()), (true, size(&expected)));
        assert_eq!(from.copy_to(&from.clone()).await.expect("nothing to do"), size(&expected));
        store.sync().await.expect("a working disk");

        let store = Store::in_memory(&disk);
        assert!(contents(&store.namespace("from")) == expected && contents(&store.host_namespace("copy")) == expected);
        assert_eq!(disk.attach().1.len(), 2, "nothing of the copying is left");
    });
}

#[test]
fn a_namespace_that_nothing_takes_the_place_of_is_gone_from_the_disk() {
    run(async {
        let disk = MemoryDisk::default();
        let store = Store::in_memory(&disk);
        let namespace = store.namespace("a");
        fill(&namespace, 1, 5_000).await;
        Staging::begin(&store).await.expect("begun").replace(&namespace).await.expect("emptied");
        assert_eq!((all(&namespace), namespace.used()), (Vec::new(), 0));
        assert_eq!(store.namespaces(), []);
        store.sync().await.expect("a working disk");
        assert!(disk.attach().1.is_empty());
    });
}

#[test]
fn dropped_before_the_end_it_changes_nothing() {
    run(async {
        let disk = MemoryDisk::default();
        let store = Store::in_memory(&disk);
        let namespace = store.namespace("a");
        set(&namespace, b"k", b"v", Durability::Strict).await.expect("a working store");
        let mut staging = Staging::begin(&store).await.expect("begun");
        for number in 0..5_000_u32 {
            staging.put(number.to_be_bytes().to_vec(), b"new".to_vec()).await.expect("laid down");
        }
        drop(staging);
        assert_eq!(all(&namespace), [(b"k".to_vec(), b"v".to_vec())]);
        // The next one has the place of the first, and nothing of what it left.
        let mut staging = Staging::begin(&store).await.expect("begun");
        staging.put(b"n".to_vec(), b"w".to_vec()).await.expect("laid down");
        staging.replace(&namespace).await.expect("replaced");
        assert_eq!(all(&namespace), [(b"n".to_vec(), b"w".to_vec())]);
    });
}

/// Cuts the power in every commit that a copy makes, one after the other.
#[test]
fn a_crash_in_the_middle_leaves_the_old_contents_or_all_of_the_new() {
    run(async {
        let (mut olds, mut news) = (0, 0);
        for commits in 0.. {
            let disk = MemoryDisk::default();
            let store = Store::in_memory(&disk);
            let (from, to) = (store.namespace("from"), store.namespace("to"));
            let (new, old) = (fill(&from, 1, 9_000).await, fill(&to, 2, 6_000).await);
            store.sync().await.expect("a working disk");
            disk.crash_after(commits);
            let copied = from.copy_to(&to).await;
            disk.crash();
            let store = Store::in_memory(&disk);
            let found = contents(&store.namespace("to"));
            assert!(found == old || found == new, "torn after {commits} commits");
            assert!(copied.is_err() || found == new, "what was done is there");
            assert!(contents(&store.namespace("from")) == new, "the source is as it was");
            assert_eq!(store.namespace("to").used(), size(&found));
            store.sync().await.expect("a working disk");
            assert_eq!(disk.attach().1.len(), 2, "what was half laid down is gone");
            if found == new {
                news += 1
            } else {
                olds += 1
            }
            if copied.is_ok() && commits > 12 {
                break;
            }
        }
        assert!(olds > 2 && news > 2, "{olds} found the old contents, {news} the new");
    });
}

/// Other plugins' turns get to the disk in the middle of a large copy, and none is in the copy by half.
#[test]
fn turns_go_on_beside_a_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    run(async {
        let store = Store::open(&path, StorePolicy::default()).expect("a new store");
        let (from, to, other) = (store.namespace("from"), store.namespace("to"), store.namespace("other"));
        for number in 0..6_u32 {
            let value = vec![number as u8; 1 << 20];
            set(&from, &number.to_be_bytes(), &value, Durability::Relaxed).await.expect("a working store");
        }
        let copying = tokio::spawn({
            let (from, to) = (from.clone(), to.clone());
            async move { from.copy_to(&to).await }
        });
        let mut beside = 0_u64;
        while !copying.is_finished() {
            let mut pair = put(b"left", &beside.to_be_bytes());
            pair.put("right", beside.to_be_bytes().to_vec());
            from.commit(pair, Durability::Relaxed).await.expect("a working store");
            set(&other, b"k", &beside.to_be_bytes(), Durability::Strict).await.expect("a working store");
            beside += 1;
        }
        copying.await.expect("no panic").expect("copied");
        assert!(beside > 1, "{beside} strict turns beside the copy");
        assert_eq!(to.get(b"left").expect("readable"), to.get(b"right").expect("readable"));
        assert_eq!(to.get(&3_u32.to_be_bytes()).expect("readable"), Some(vec![3; 1 << 20]));
        store.close().await.expect("closed");
        let store = Store::open(&path, StorePolicy::default()).expect("the same file");
        assert_eq!(store.namespace("to").get(&5_u32.to_be_bytes()).expect("readable"), Some(vec![5; 1 << 20]));
        store.close().await.expect("closed");
    });
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u8, u8),
    Remove(usize, u8),
    Purge(usize),
    Trade(usize, usize),
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0_usize..3;
    prop_oneof![
        8 => (which(), 0_u8..6, any::<u8>()).prop_map(|(at, key, value)| Step::Put(at, key, value)),
        2 => (which(), 0_u8..6).prop_map(|(at, key)| Step::Remove(at, key)),
        1 => which().prop_map(Step::Purge),
        4 => (which(), which()).prop_map(|(one, two)| Step::Trade(one, two)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

async fn trades(steps: Vec<Step>, threaded: bool) -> Result<(), TestCaseError> {
    let disk = MemoryDisk::default();
    let policy = || StorePolicy { commit_after: std::time::Duration::from_micros(50), ..StorePolicy::default() };
    let open = || -> Result<Store, StoreError> {
        if threaded { Store::in_memory_threaded(&disk, policy()) } else { Ok(Store::in_memory(&disk)) }
    };
    let names = ["a", "b", "c"];
    let (mut store, mut model) = (open().expect("a store"), [Map::new(), Map::new(), Map::new()]);
    for step in steps {
        let namespace = |at: usize| store.namespace(names[at]);
        match step {
            Step::Put(at, key, value) => {
                let set = set(&namespace(at), &[key], &[value], Durability::Relaxed).await;
                set.expect("a working store");
                model[at].insert(vec![key], vec![value]);
            }
            Step::Remove(at, key) => {
                let mut batch = WriteBatch::default();
                batch.remove(vec![key]);
                namespace(at).commit(batch, Durability::Relaxed).await.expect("a working store");
                model[at].remove([key].as_slice());
            }
            Step::Purge(at) => {
                namespace(at).purge(Durability::Relaxed).await.expect("a working store");
                model[at].clear();
            }
            Step::Trade(one, two) => {
                namespace(one).trade(&namespace(two)).await.expect("a working store");
                model.swap(one, two);
            }
            Step::Sync => {
                store.sync().await.expect("a working store");
            }
            Step::Reopen => {
                store.close().await.expect("a working store");
                store = open().expect("a store");
            }
        }
        for (name, map) in names.iter().zip(&model) {
            let namespace = store.namespace(name);
            prop_assert_eq!(&contents(&namespace), map);
            prop_assert_eq!(namespace.used(), size(map));
        }
    }
    store.close().await.expect("a working store");
    for name in names {
        prop_assert_eq!(store.namespace(name).pending(), 0, "what is on the disk leaves the overlay");
    }
    Ok(())
}

proptest! {
    #[test]
    fn namespaces_trade_contents_between_turns(steps in prop::collection::vec(step(), 1..60)) {
        run(trades(steps, false))?;
    }

    #[test]
    fn namespaces_trade_contents_while_groups_land(steps in prop::collection::vec(step(), 1..60)) {
        run(trades(steps, true))?;
    }
}
