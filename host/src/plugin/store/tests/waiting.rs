//! A disk that takes its time: turns wait, the overlay stays bounded, and patience ends.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::super::backend::{Backend, NamespaceRow, Snapshot};
use super::super::error::BackendError;
use super::super::group::Group;
use super::super::memory::MemoryBackend;
use super::super::{Durability, MemoryDisk, Store, StoreError, StorePolicy};
use super::{all, run, set};

/// Longer than any test needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A disk that says when a commit begins and waits to be told to go on.
struct Gate {
    inner: MemoryBackend,
    begun: SyncSender<u64>,
    go: Receiver<()>,
}

impl Backend for Gate {
    fn commit(&mut self, group: &Group) -> Result<(), BackendError> {
        let _ = self.begun.send(group.epoch);
        let _ = self.go.recv_timeout(DEADLINE);
        self.inner.commit(group)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, BackendError> {
        self.inner.snapshot()
    }

    fn namespaces(&self) -> Result<Vec<NamespaceRow>, BackendError> {
        self.inner.namespaces()
    }
}

fn gated(policy: StorePolicy) -> (Store, Receiver<u64>, SyncSender<()>) {
    let (begun, has_begun) = sync_channel(16);
    let (open, go) = sync_channel(16);
    let (inner, _) = MemoryDisk::default().attach();
    let store = Store::start(Box::new(Gate { inner, begun, go }), policy, "gate").expect("a store");
    (store, has_begun, open)
}

#[test]
fn turns_wait_for_room_in_bytes() {
    let policy = StorePolicy { max_pending_bytes: 1000, max_pending_age: DEADLINE, ..StorePolicy::default() };
    let (store, has_begun, open) = gated(policy);
    run(async {
        let namespace = store.namespace("a");
        set(&namespace, b"1", &[0; 600], Durability::Relaxed).await.expect("room");
        assert_eq!(has_begun.recv_timeout(DEADLINE), Ok(1), "half of the room is a reason to write");
        set(&namespace, b"2", &[0; 600], Durability::Relaxed).await.expect("one turn may overshoot");
        let third = tokio::spawn({
            let namespace = namespace.clone();
            async move { set(&namespace, b"3", &[0; 600], Durability::Strict).await }
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), store.ready()).await.is_err(), "no room");
        assert_eq!(all(&namespace).len(), 2, "the third waits");
        open.send(()).expect("the thread listens");
        assert_eq!(has_begun.recv_timeout(DEADLINE), Ok(2));
        open.send(()).expect("the thread listens");
        open.send(()).expect("the thread listens");
        third.await.expect("no panic").expect("on disk in the end");
        assert_eq!(all(&namespace).len(), 3);
    });
}

#[test]
fn turns_wait_when_the_oldest_is_too_old() {
    let (store, has_begun, open) = gated(StorePolicy::default());
    run(async {
        let namespace = store.namespace("a");
        set(&namespace, b"1", b"x", Durability::Relaxed).await.expect("room");
        assert_eq!(has_begun.recv_timeout(DEADLINE), Ok(1), "written without anybody waiting");
        let age = StorePolicy::default().max_pending_age;
        tokio::time::sleep(age).await;
        assert!(tokio::time::timeout(Duration::from_millis(20), store.ready()).await.is_err(), "too old");
        open.send(()).expect("the thread listens");
        store.ready().await.expect("room again");
    });
}

#[test]
fn a_disk_that_never_answers_fails_the_store() {
    let policy = StorePolicy { patience: Duration::from_millis(20), ..StorePolicy::default() };
    let (store, _has_begun, open) = gated(policy);
    run(async {
        let namespace = store.namespace("a");
        let strict = set(&namespace, b"1", b"x", Durability::Strict).await;
        assert!(matches!(strict, Err(StoreError::Stalled { .. })), "{strict:?}");
        assert!(matches!(set(&namespace, b"2", b"x", Durability::Relaxed).await, Err(StoreError::Stalled { .. })));
        assert_eq!(namespace.get(b"1").expect("readable"), Some(b"x".to_vec()));
        drop(open);
    });
}

#[test]
fn a_strict_turn_that_wrote_nothing_waits_for_those_before() {
    let policy = StorePolicy { commit_after: DEADLINE, max_pending_age: DEADLINE, ..StorePolicy::default() };
    let (store, has_begun, open) = gated(policy);
    run(async {
        let namespace = store.namespace("a");
        set(&namespace, b"1", b"x", Durability::Relaxed).await.expect("room");
        let ticket = namespace.commit(Default::default(), Durability::Strict).await.expect("a working store");
        assert_eq!(has_begun.recv_timeout(DEADLINE), Ok(1), "it hurries the disk");
        let waiting = tokio::spawn(ticket.durable());
        assert!(!waiting.is_finished());
        open.send(()).expect("the thread listens");
        waiting.await.expect("no panic").expect("on disk");
    });
}
