//! Both ends of each way, in this process or one of them in another.

mod far;
mod native;
mod node;
mod plugin;
mod raw;
mod spread;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Notify;

pub use self::far::{Far, Kind, serve};
pub use self::native::NativeNode;
pub use self::node::Node;
pub use self::plugin::{PluginNode, plugin_file, source, spread_file};
pub use self::raw::{Raw, RawNode};
pub use self::spread::SpreadNode;

/// What the plugin is called where it is there once.
pub const LOAD: &str = "load";
/// How long a step may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Counts what has come, and wakes who waits for it.
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

/// Between two looks at what costs little to look at.
pub const LOOK: Duration = Duration::from_millis(1);

/// Looks again and again until something holds.
///
/// # Errors
/// When it takes too long.
pub async fn until(what: &str, pause: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        ensure!(tokio::time::Instant::now() < deadline, "after {} s still not: {what}", PATIENCE.as_secs());
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
