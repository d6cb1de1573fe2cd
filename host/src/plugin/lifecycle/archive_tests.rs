//! Copies are bounded, come back whole, and a restore that was cut off is finished.

use super::*;
use crate::plugin::store::{Durability, MemoryDisk, Staging, WriteBatch};

async fn write(store: &Store, value: &str) {
    let mut batch = WriteBatch::default();
    batch.put(b"key".to_vec(), value.as_bytes().to_vec());
    store.namespace("a").commit(batch, Durability::Strict).await.expect("written");
}

fn read(store: &Store) -> Option<String> {
    let value = store.namespace("a").get(b"key").expect("read");
    value.map(|value| String::from_utf8(value).expect("text"))
}

fn archive(store: &Store) -> Archive {
    Archive::new(store, Trust::default(), Shelf::default())
}

fn layout(data_version: u32) -> LayoutRecord {
    LayoutRecord { data_version, version: format!("0.{data_version}.0") }
}

const OLDEST: Layouts = Layouts { reads_from: 1, data_version: 1 };
const SECOND: Layouts = Layouts { reads_from: 1, data_version: 2 };

#[tokio::test]
async fn the_newest_copy_that_fits_comes_back() {
    let store = Store::in_memory(&MemoryDisk::default());
    let archive = archive(&store);
    for version in 1..=3 {
        write(&store, &format!("of layout {version}")).await;
        archive.copy("a", &layout(version), 7).await.expect("copied");
    }
    write(&store, "of layout 4").await;
    // There are two places, so the first copy is gone.
    assert_eq!(archive.newest_copy("a", OLDEST).expect("read"), None);
    let (number, copy) = archive.newest_copy("a", SECOND).expect("read").expect("a copy");
    assert_eq!((copy.data_version, copy.bytes, copy.made_ms), (2, 14, 7));
    archive.restore("a", number).await.expect("restored");
    assert_eq!(read(&store).as_deref(), Some("of layout 2"));
    assert_eq!(archive.layout("a").expect("read"), Some(layout(2)));
    // A copy can be taken twice.
    write(&store, "spoilt").await;
    archive.restore("a", number).await.expect("restored");
    assert_eq!(read(&store).as_deref(), Some("of layout 2"));
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_finished() {
    let store = Store::in_memory(&MemoryDisk::default());
    let archive = archive(&store);
    write(&store, "before").await;
    archive.copy("a", &layout(1), 0).await.expect("copied");
    // The node ended after the store was emptied.
    archive.restores.put("a", ONLY, &0_u64).await.expect("noted");
    store.namespace("a").purge(Durability::Strict).await.expect("purged");
    archive.finish_restore("a").await.expect("finished");
    assert_eq!(read(&store).as_deref(), Some("before"));
    write(&store, "after").await;
    archive.finish_restore("a").await.expect("nothing to do");
    assert_eq!(read(&store).as_deref(), Some("after"));
}

#[tokio::test]
async fn an_empty_store_has_no_layout() {
    let store = Store::in_memory(&MemoryDisk::default());
    let archive = archive(&store);
    archive.set_layout("a", &layout(3)).await.expect("noted");
    assert_eq!(archive.layout("a").expect("read"), None);
    write(&store, "x").await;
    assert_eq!(archive.layout("a").expect("read"), Some(layout(3)));
}

#[tokio::test]
async fn a_store_is_whose_it_was_when_the_next_one_does_not_run() {
    let store = Store::in_memory(&MemoryDisk::default());
    let archive = archive(&store);
    let pinned = Owner::Content(Digest::of(b"x").to_string());
    for before in [None, Some(Owner::Anyone)] {
        archive.set_owner("a", &pinned).await.expect("noted");
        archive.leave_owner("a", before.as_ref()).await;
        assert_eq!(archive.owner("a").expect("read"), before);
    }
}

#[tokio::test]
async fn an_imported_store_has_the_layout_it_came_with_and_no_other() {
    let store = Store::in_memory(&MemoryDisk::default());
    let archive = archive(&store);
    let import = async |value: &str, layout: Option<LayoutRecord>| {
        let mut staging = Staging::begin(&store).await.expect("room");
        staging.put(b"key".to_vec(), value.as_bytes().to_vec()).await.expect("laid down");
        archive.replace("a", staging, layout.as_ref()).await.expect("replaced");
    };
    write(&store, "of layout 3").await;
    archive.set_layout("a", &layout(3)).await.expect("noted");
    import("of layout 1", Some(layout(1))).await;
    assert_eq!((read(&store).as_deref(), archive.layout("a").expect("read")), (Some("of layout 1"), Some(layout(1))));
    // A restore that a crash cut off must not come over what was imported since.
    archive.copy("a", &layout(1), 0).await.expect("copied");
    archive.restores.put("a", ONLY, &0_u64).await.expect("noted");
    import("of no layout", None).await;
    archive.finish_restore("a").await.expect("nothing to do");
    assert_eq!((read(&store).as_deref(), archive.layout("a").expect("read")), (Some("of no layout"), None));
}
