//! What is left after a crash, and after the disk broke.

use proptest::prelude::*;

use super::super::{Durability, MemoryDisk, Store, StoreError, WriteBatch};
use super::{all, run, set};

/// A turn writes its number under two keys; a torn one would leave them different.
fn turn(number: usize) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for key in ["left", "right"] {
        batch.put(key, number.to_be_bytes().to_vec());
    }
    batch.put(number.to_be_bytes().to_vec(), "here");
    batch
}

proptest! {
    #[test]
    fn survivors_are_a_prefix_of_the_turns(
        turns in prop::collection::vec((0_usize..3, prop::bool::weighted(0.1), prop::bool::weighted(0.05)), 1..80),
    ) {
        run(async {
            let disk = MemoryDisk::default();
            let store = Store::in_memory(&disk);
            let names = ["a", "b", "c"];
            let mut promised = 0;
            for (number, (which, strict, sync)) in turns.iter().enumerate() {
                let durability = if *strict { Durability::Strict } else { Durability::Relaxed };
                let namespace = store.namespace(names[*which]);
                let ticket = namespace.commit(turn(number), durability).await.expect("a working store");
                if *strict {
                    ticket.durable().await.expect("a working disk");
                }
                if *sync {
                    store.sync().await.expect("a working disk");
                }
                if *strict || *sync {
                    promised = number + 1;
                }
            }
            disk.crash();
            assert!(store.sync().await.is_err() || promised == turns.len(), "a dead node wrote");

            let store = Store::in_memory(&disk);
            let survived = names.iter().map(|name| all(&store.namespace(name)).len().saturating_sub(2)).sum();
            prop_assert!(survived >= promised);
            for (which, name) in names.iter().enumerate() {
                let mine = turns[..survived].iter().enumerate().filter(|(_, turn)| turn.0 == which).map(|(n, _)| n);
                let mine: Vec<_> = mine.collect();
                let namespace = store.namespace(name);
                for number in &mine {
                    prop_assert!(namespace.get(&number.to_be_bytes()).expect("readable").is_some());
                }
                let last = mine.last().map(|number| number.to_be_bytes().to_vec());
                prop_assert_eq!(namespace.get(b"left").expect("readable"), last.clone());
                prop_assert_eq!(namespace.get(b"right").expect("readable"), last);
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_broken_disk_ends_the_store_but_not_its_reads() {
    run(async {
        let disk = MemoryDisk::default();
        let store = Store::in_memory(&disk);
        let namespace = store.namespace("a");
        set(&namespace, b"1", b"on disk", Durability::Strict).await.expect("a working disk");
        set(&namespace, b"2", b"pending", Durability::Relaxed).await.expect("a working store");
        disk.fail_next_commit();
        let strict = set(&namespace, b"3", b"strict", Durability::Strict).await;
        let text = strict.expect_err("the disk is broken").to_string();
        assert!(text.contains("restart the node"), "{text}");
        let later = set(&namespace, b"4", b"late", Durability::Relaxed).await;
        assert!(matches!(later, Err(StoreError::Failed { .. })), "{later:?}");
        assert!(matches!(store.ready().await, Err(StoreError::Failed { .. })));
        assert_eq!(all(&namespace).len(), 3);

        let again = Store::in_memory(&disk);
        assert_eq!(all(&again.namespace("a")).len(), 1, "no part of the failed group is there");
    });
}
