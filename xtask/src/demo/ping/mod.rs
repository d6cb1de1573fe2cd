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
use tempfile::TempDir;

use self::scenario::Scenario;
use super::outcome::Outcome;
use crate::guests;
use crate::interrupt;
use crate::workspace::Workspace;

/// Plays it with this `weir`.
pub fn play(workspace: &Workspace, weir: &Path, messages: u64, hold: bool) -> Result<Outcome> {
    let started = Instant::now();
    let plugins = guests::ping(workspace)?;
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().context("make a temporary folder")?;
    let outcome = Scenario::start(weir, plugins, folder.path(), messages).and_then(|mut scenario| {
        let summary = scenario.play()?;
        if hold {
            scenario.hold()?;
        }
        Ok(summary)
    });
    if outcome.as_ref().map_or(!interrupt::requested(), |_| hold) {
        keep(folder);
    }
    let summary = summary::Summary { elapsed: started.elapsed(), ..outcome? };
    Ok(Outcome { table: summary.table(), json: summary.json(), failures: summary.failures() })
}

fn keep(folder: TempDir) {
    eprintln!("folders and logs of the nodes: {}", folder.keep().display());
}
