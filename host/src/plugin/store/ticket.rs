//! The promise that a committed turn will be on the disk.

use std::sync::Arc;

use super::error::StoreError;
use super::shared::Shared;

/// Says when a committed turn is on the disk. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct CommitTicket {
    shared: Arc<Shared>,
    epoch: u64,
}

impl CommitTicket {
    pub(super) fn new(shared: Arc<Shared>, epoch: u64) -> Self {
        Self { shared, epoch }
    }

    /// Waits until the turn, and with it all turns before, is on the disk.
    ///
    /// Only a strict turn makes the disk hurry. Needs a tokio runtime with its time driver.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the store failed, stalled or was closed first: the turn may be lost after a restart.
    pub async fn durable(self) -> Result<(), StoreError> {
        self.shared.durable(self.epoch).await
    }
}
