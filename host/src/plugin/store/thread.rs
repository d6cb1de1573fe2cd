//! The thread that owns the database and is its only writer.

use std::sync::Arc;

use super::backend::Backend;
use super::error::BackendError;
use super::shared::Shared;

/// Starts the thread. It ends when the store is stopped and everything pending is written.
pub(super) fn spawn(shared: Arc<Shared>, backend: Box<dyn Backend>) -> Result<(), BackendError> {
    let thread = std::thread::Builder::new().name("weir-store".into());
    thread.spawn(move || run(&shared, backend)).map(drop).map_err(BackendError::new)
}

fn run(shared: &Shared, mut backend: Box<dyn Backend>) {
    while let Some(group) = shared.next_group() {
        if let Err(error) = shared.write(&mut *backend, &group) {
            tracing::error!("failed to {error}");
            break;
        }
    }
    // A failed store keeps the medium open, because reads go on, and the file locked, because nobody else should
    // write what this one could not.
    shared.wait_for_stop();
    drop(backend);
    shared.let_go();
}
