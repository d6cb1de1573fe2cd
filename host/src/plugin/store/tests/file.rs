//! A real file: what is in it when, and who may open it.

use std::path::Path;

use super::super::{Durability, NamespaceUsage, Store, StoreError, StorePolicy};
use super::{all, put, run, set};

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, StorePolicy::default())
}

#[test]
fn a_strict_ticket_means_the_data_is_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    run(async {
        let store = open(&path).expect("a new store");
        let (a, b) = (store.namespace("a"), store.host_namespace("b"));
        for number in 0_u32..5 {
            set(&a, &number.to_be_bytes(), b"relaxed", Durability::Relaxed).await.expect("a working store");
            set(&b, &number.to_be_bytes(), b"strict", Durability::Strict).await.expect("a working store");
            let copy = folder.path().join(format!("{number}.redb"));
            std::fs::copy(&path, &copy).expect("a copy");
            let copied = open(&copy).expect("a store as after a crash");
            assert_eq!(all(&copied.host_namespace("b")), all(&b));
            assert_eq!(all(&copied.namespace("a")), all(&a), "turns before a strict one are there too");
            copied.close().await.expect("closed");
        }
        store.close().await.expect("closed");
    });
}

#[test]
fn reopening_finds_everything_and_purge_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    run(async {
        let store = open(&path).expect("a new store");
        let names: Vec<_> = (0..1000).map(|number| format!("plugin-{number:03}")).collect();
        for name in &names {
            set(&store.namespace(name), b"name", name.as_bytes(), Durability::Relaxed).await.expect("a working store");
        }
        store.sync().await.expect("a working disk");
        store.namespace("plugin-007").purge(Durability::Relaxed).await.expect("a working store");
        let gone = set(&store.namespace("plugin-008"), b"", b"", Durability::Relaxed).await;
        gone.expect("an empty key is a key");
        store.close().await.expect("closed");
        let late = store.namespace("a").commit(put(b"k", b"v"), Durability::Relaxed).await;
        assert!(matches!(late, Err(StoreError::Closed { .. })), "{late:?}");

        let store = open(&path).expect("the file is let go of");
        let expected: Vec<_> = names.iter().filter(|name| *name != "plugin-007").cloned().collect();
        let expected: Vec<_> =
            expected.into_iter().map(|name| NamespaceUsage { used: 4 + name.len() as u64, name }).collect();
        assert_eq!(store.namespaces(), expected);
        assert_eq!(all(&store.namespace("plugin-007")), []);
        assert_eq!(all(&store.namespace("plugin-008")).len(), 2);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    run(async {
        let store = open(&path).expect("a new store");
        assert!(matches!(open(&path), Err(StoreError::Held { .. })));
        store.close().await.expect("closed");
    });

    let database = redb::Database::open(&path).expect("a database");
    let write = database.begin_write().expect("a transaction");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).expect("a table").insert("format", 7).expect("inserted");
    write.commit().expect("committed");
    drop(database);
    let text = open(&path).expect_err("it is too new").to_string();
    assert!(text.contains("format 7") && text.contains("up to 1"), "{text}");

    let text_file = folder.path().join("text");
    std::fs::write(&text_file, "not a database ".repeat(1000)).expect("written");
    assert!(matches!(open(&text_file), Err(StoreError::Open { .. })));
    assert!(matches!(open(&folder.path().join("no/such/folder")), Err(StoreError::Open { .. })));
}

/// Reads go on, and see every turn whole, while the thread moves turns from the overlay to the disk.
#[test]
fn reads_see_whole_turns_while_groups_land() {
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let policy = StorePolicy { commit_after: std::time::Duration::from_micros(100), ..StorePolicy::default() };
        let store = Store::open(&folder.path().join("store.redb"), policy).expect("a new store");
        let namespace = store.namespace("a");
        for number in 0_u32..2000 {
            let value = number.to_be_bytes();
            let mut batch = put(b"left", &value);
            batch.put("right", value.to_vec());
            if number % 3 == 0 {
                batch.remove((number / 2).to_be_bytes().to_vec());
            }
            if number % 400 == 399 {
                batch.purge = true;
            }
            namespace.commit(batch, Durability::Relaxed).await.expect("a working store");
            let expected = vec![(b"left".to_vec(), value.to_vec()), (b"right".to_vec(), value.to_vec())];
            assert_eq!(all(&namespace), expected);
            assert_eq!(namespace.used(), 17);
        }
        store.close().await.expect("closed");
    });
}
