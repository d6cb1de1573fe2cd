//! Counts what has come, and wakes who waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Notify;

/// How long a step may take before it counts as hung. `weir-bench` waits a little longer, so that it is told what hung.
pub const PATIENCE: Duration = Duration::from_secs(100);

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
        let all = tokio::time::timeout(PATIENCE, all).await;
        all.with_context(|| format!("{} of {wanted} came within {} s", self.come(), PATIENCE.as_secs()))
    }
}
