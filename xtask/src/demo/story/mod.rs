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

use self::accounts::Account;
use self::cast::Cast;
use self::stage::Stage;
use super::outcome::Outcome;
use crate::guests::Ledgers;
use crate::interrupt;
use crate::workspace::Workspace;

/// The accounts that play, or the first so many of them, by the node that each speaks to.
pub fn accounts(workspace: &Workspace, most: Option<u64>) -> Result<Vec<Vec<Account>>> {
    accounts::read(&workspace.root.join("examples/data/stakes.csv"), stage::NAMES.len(), most)
}

/// Plays it with this `weir`, these plugins and these accounts.
pub fn play(weir: &Path, plugins: Ledgers, accounts: Vec<Vec<Account>>, hold: bool) -> Result<Outcome> {
    let started = Instant::now();
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().context("make a temporary folder")?;
    let outcome = Stage::set(weir, plugins, folder.path()).and_then(|mut stage| {
        let mut cast = Cast::new(&stage, accounts)?;
        acts::play(&stage, &mut cast)?;
        let summary = ending::summary(&stage, &cast, started)?;
        Ok((summary, hold.then(|| stage.hold(folder.path()))))
    });
    if outcome.is_err() && interrupt::requested() {
        // What was under way when Ctrl-C was pressed is no failure of it.
        bail!("interrupted; all nodes have ended");
    }
    if outcome.is_err() {
        eprintln!("folders and logs of the nodes: {}", folder.keep().display());
    } else if hold {
        // Whoever ends them is told where it is.
        let _kept = folder.keep();
    }
    let (summary, held) = outcome?;
    Ok(Outcome { table: summary.table(), json: summary.json(), failures: summary.failures(), held })
}
