//! `cargo xtask demo --ping`: two nodes, a flood of messages, and an upgrade in the middle of it.

mod checksum;
mod commands;
mod scenario;
mod source;
mod summary;
mod text;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use self::scenario::Scenario;
use super::outcome::Outcome;
use crate::guests::Versions;
use crate::interrupt;

/// Plays it with this `weir` and these plugins.
pub fn play(weir: &Path, plugins: Versions, messages: u64, hold: bool) -> Result<Outcome> {
    let started = Instant::now();
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().context("make a temporary folder")?;
    let outcome = Scenario::start(weir, plugins, folder.path(), messages).and_then(|mut scenario| {
        let summary = scenario.play()?;
        Ok((summary, if hold { Some(scenario.hold(folder.path())?) } else { None }))
    });
    if outcome.is_err() && !interrupt::requested() {
        eprintln!("folders and logs of the nodes: {}", folder.keep().display());
    } else if hold {
        // Whoever ends them is told where it is.
        let _kept = folder.keep();
    }
    let (summary, held) = outcome?;
    let summary = summary::Summary { elapsed: started.elapsed(), ..summary };
    Ok(Outcome { table: summary.table(), json: summary.json(), failures: summary.failures(), held })
}
