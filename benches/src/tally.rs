//! Counts what has come, and wakes who waits for it. The program with the other libraries has this very file.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use tokio::sync::Notify;

use crate::PATIENCE;

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    come: AtomicU64,
    /// From how many on somebody wants to know.
    wanted: AtomicU64,
    reached: Notify,
}

impl Tally {
    /// So many more have come.
    pub fn add(&self, number: u64) {
        let come = self.come.fetch_add(number, Ordering::AcqRel) + number;
        if come >= self.wanted.load(Ordering::Acquire) {
            self.reached.notify_one();
        }
    }

    /// How many have come.
    pub fn come(&self) -> u64 {
        self.come.load(Ordering::Acquire)
    }

    /// Waits until so many have come in all; for one caller.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn reach(&self, wanted: u64) -> Result<()> {
        self.wanted.store(wanted, Ordering::Release);
        let all = async {
            while self.come() < wanted {
                self.reached.notified().await;
            }
        };
        ensure!(
            tokio::time::timeout(PATIENCE, all).await.is_ok(),
            "{} of {wanted} came within {} s",
            self.come(),
            PATIENCE.as_secs()
        );
        Ok(())
    }
}
