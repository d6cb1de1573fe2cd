//! Both ends of each way, in this process or one of them in another.

mod far;
mod native;
mod node;
mod plugin;
mod raw;
mod spread;

use std::time::Duration;

use anyhow::{Result, ensure};

pub use self::far::{Far, Kind, serve};
pub use self::native::NativeNode;
pub use self::node::Node;
pub use self::plugin::{PluginNode, plugin_file, source, spread_file};
pub use self::raw::{Raw, RawNode};
pub use self::spread::SpreadNode;
pub use crate::tally::Tally;

/// What the plugin is called where it is there once.
pub const LOAD: &str = "load";
/// How long a step may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(120);

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
