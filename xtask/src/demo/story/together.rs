//! What all nodes do together: an epoch is closed, and everybody comes to the same state.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_ledger::Id;
use weir_plugin_dividend::commands::RootAnswer as DividendRoot;
use weir_plugin_staking::commands::RootAnswer;
use weir_wallet::Wallet;
use weir_wallet::node::DIVIDEND;

use super::cast::Cast;
use super::stage::{LONG, Stage};
use crate::demo::number::grouped;

/// The issuer's node, which is on the larger side of the cut.
pub const ISSUER: usize = 0;

/// Lets the issuer's wallet close an epoch with so many operations, once its node has them.
pub fn close(stage: &Stage, cast: &mut Cast, operations: u64) -> Result<()> {
    stage.until(&[ISSUER], &format!("{} pending operations", grouped(operations)), LONG, |node| {
        Ok(stage.ledgers(node).status()?.pending == operations)
    })?;
    stage.screen.state("closing an epoch");
    let node = &stage.nodes[ISSUER];
    let mut wallet = Wallet::open(&stage.issuer, node.client.api().clone())?;
    let done = wallet.epoch().with_context(|| node.with_log("the issuer's wallet failed"))?;
    cast.tally.epochs += done.epochs;
    cast.tally.operations += operations;
    let included = done.operations;
    ensure!(included == operations, node.with_log(&format!("an epoch includes {included} operations of {operations}")));
    Ok(())
}

/// Waits until these nodes have closed what the issuer's node has, with the same root.
pub fn everywhere(stage: &Stage, nodes: &[usize]) -> Result<RootAnswer> {
    let wanted = stage.ledgers(ISSUER).root()?;
    let what = format!("epoch {} with root {}", wanted.epoch, wanted.root.short());
    stage.until(nodes, &what, LONG, |node| {
        let root = stage.ledgers(node).root()?;
        let forked = root.epoch == wanted.epoch && root != wanted;
        ensure!(
            !forked,
            "node {} has closed epoch {} with another root, {}",
            stage.nodes[node].name,
            root.epoch,
            root.root
        );
        Ok(root == wanted)
    })?;
    Ok(wanted)
}

/// Waits until the dividends of these nodes stand at an epoch and have the same root.
pub fn agreed(stage: &Stage, nodes: &[usize], epoch: u64, counted: u64) -> Result<Id> {
    let root = |node: usize| -> Result<Option<DividendRoot>> {
        let Ok(answer) = stage.ledgers(node).0.call(DIVIDEND, "root", &json!({})) else { return Ok(None) };
        serde_json::from_value(answer).map(Some).context("read the answer of `root`")
    };
    let here = |root: &DividendRoot| root.epoch == epoch && root.counted == counted;
    stage.until(nodes, &format!("equal dividends up to epoch {epoch}"), LONG, |node| {
        let (theirs, ours) = (root(node)?, root(ISSUER)?);
        Ok(theirs.as_ref().is_some_and(here) && theirs == ours)
    })?;
    Ok(root(ISSUER)?.context("the issuer's node has dividends")?.root)
}
