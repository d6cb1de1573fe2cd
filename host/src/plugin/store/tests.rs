//! The store against a model, through crashes, with a disk that waits or breaks, on a real file, and when a copy takes a place.

mod crash;
mod file;
mod model;
mod staging;
mod waiting;

use super::{Durability, Namespace, ScanRange, StoreError, WriteBatch};

/// Runs what a test awaits.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(test)
}

fn put(key: &[u8], value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(key.to_vec(), value.to_vec());
    batch
}

/// Commits one put and waits until it is as durable as it asks for.
async fn set(namespace: &Namespace, key: &[u8], value: &[u8], durability: Durability) -> Result<(), StoreError> {
    let ticket = namespace.commit(put(key, value), durability).await?;
    match durability {
        Durability::Strict => ticket.durable().await,
        Durability::Relaxed => Ok(()),
    }
}

/// Everything in a namespace.
fn all(namespace: &Namespace) -> Vec<(Vec<u8>, Vec<u8>)> {
    namespace.scan(ScanRange::default(), usize::MAX, usize::MAX).expect("a readable store").entries
}
