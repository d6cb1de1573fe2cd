//! The story of the demo: five nodes that run staking and dividend, from the first mint to a table that adds up.

mod accounts;
mod acts;
mod cast;
mod ending;
mod flow;
mod screen;
mod stage;
mod summary;
mod together;
mod watch;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::cast::Cast;
use self::stage::Stage;
use super::outcome::Outcome;
use crate::guests;
use crate::interrupt;
use crate::workspace::Workspace;

/// Plays it with this `weir`.
pub fn play(workspace: &Workspace, weir: &Path, hold: bool) -> Result<Outcome> {
    let started = Instant::now();
    let plugins = guests::ledgers(workspace)?;
    let accounts = accounts::read(&workspace.root.join("examples/data/stakes.csv"), stage::NAMES.len())?;
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().context("make a temporary folder")?;
    let outcome = Stage::set(weir, plugins, folder.path()).and_then(|mut stage| {
        let mut cast = Cast::new(&stage, accounts)?;
        acts::play(&stage, &mut cast)?;
        let summary = ending::summary(&stage, &cast, started)?;
        if hold {
            stage.hold(folder.path())?;
        }
        Ok(summary)
    });
    if outcome.is_err() && interrupt::requested() {
        // What was under way when Ctrl-C was pressed is no failure of it.
        bail!("interrupted; all nodes have ended");
    }
    if outcome.is_err() || hold {
        eprintln!("folders and logs of the nodes: {}", folder.keep().display());
    }
    let summary = outcome?;
    Ok(Outcome { table: summary.table(), json: summary.json(), failures: summary.failures() })
}
