//! Asks every node at the end, and compares with what was sent and with what the shares must be.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_ledger::Key;
use weir_plugin_dividend::commands::{EntitlementAnswer, EntitlementsAnswer};
use weir_plugin_staking::commands::StakesAnswer;
use weir_wallet::node::{DIVIDEND, STAKING};

use super::cast::Cast;
use super::stage::Stage;
use super::summary::{NodeEnd, Summary};

/// Everything that came of the story.
pub fn summary(stage: &Stage, cast: &Cast, started: Instant) -> Result<Summary> {
    stage.screen.step("asking every node for everything");
    let expected: BTreeMap<Key, u128> = cast.everybody().map(|account| (account.key(), account.staked)).collect();
    let shares = shares(&cast.tally.record, cast.tally.declared);
    let nodes = stage.all().into_iter().map(|node| end_of(stage, node, &expected, &shares));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let tally = &cast.tally;
    let claimed = tally.claimed.iter().filter_map(|key| shares.get(key)).sum();
    Ok(Summary {
        accounts: expected.len() as u64,
        submitted: tally.mints + tally.operations + tally.epochs,
        claims: tally.claims,
        declared: tally.declared,
        claimed,
        claimable: shares.values().sum::<u128>() - claimed,
        apart: tally.apart,
        healed: tally.healed,
        pauses: tally.pauses.clone(),
        flowing: tally.flowing,
        back: tally.back,
        acts: tally.acts.clone(),
        nodes,
        elapsed: started.elapsed(),
    })
}

/// What each account is due of one declaration, computed here once more, from what was signed: the whole of its share.
fn shares(record: &[(Key, u128)], declared: u128) -> BTreeMap<Key, u128> {
    let total: u128 = record.iter().map(|(_, staked)| staked).sum();
    record.iter().map(|(key, staked)| (*key, declared * staked / total.max(1))).collect()
}

fn end_of(
    stage: &Stage,
    place: usize,
    expected: &BTreeMap<Key, u128>,
    shares: &BTreeMap<Key, u128>,
) -> Result<NodeEnd> {
    let node = &stage.nodes[place];
    let failed = || node.with_log("it did not tell how it stands");
    let ledgers = stage.ledgers(place);
    let root = ledgers.root().with_context(failed)?;
    let status = ledgers.status().with_context(failed)?;
    let dividend = ledgers.0.call(DIVIDEND, "root", &json!({})).with_context(failed)?;
    let stakes: Vec<StakesAnswer> = pages(|after| ledgers.0.call(STAKING, "stakes", &json!({"after": after})))?;
    let stakes: BTreeMap<_, _> =
        stakes.iter().flat_map(|page| &page.accounts).map(|stake| (stake.account, stake.staked)).collect();
    let due: Vec<EntitlementsAnswer> =
        pages(|after| ledgers.0.call(DIVIDEND, "entitlements", &json!({"after": after})))?;
    let due: Vec<&EntitlementAnswer> = due.iter().flat_map(|page| &page.accounts).collect();
    let wrong = due.iter().filter(|due| shares.get(&due.account) != Some(&due.accrued)).count();
    Ok(NodeEnd {
        name: node.name,
        version: stage.version(node, STAKING)?.unwrap_or_default(),
        epoch: root.epoch,
        root: root.root.to_string(),
        included: root.operations,
        pending: status.pending,
        dividend_root: dividend["root"].as_str().unwrap_or_default().to_owned(),
        claimed: due.iter().map(|due| due.claimed).sum(),
        claimable: due.iter().map(|due| due.claimable).sum(),
        claims: due.iter().filter(|due| due.claimed_up_to.is_some()).count() as u64,
        wrong_shares: (wrong + shares.len().abs_diff(due.len())) as u64,
        stakes_as_signed: stakes == *expected,
    })
}

/// All pages of a list.
fn pages<T: serde::de::DeserializeOwned, E: std::error::Error + Send + Sync + 'static>(
    ask: impl Fn(Option<String>) -> Result<Value, E>,
) -> Result<Vec<T>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let answer = ask(after)?;
        after = answer["next"].as_str().map(str::to_owned);
        found.push(serde_json::from_value(answer).context("read a page of a list")?);
        if after.is_none() {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down_and_never_more_than_everything() {
        let record: Vec<_> = (1..=7u8).map(|name| (Key([name; 32]), u128::from(name))).collect();
        let shares = shares(&record, 1_000_003);
        assert_eq!(shares[&Key([7; 32])], 1_000_003 * 7 / 28);
        let sum: u128 = shares.values().sum();
        assert!(sum <= 1_000_003 && 1_000_003 - sum < 7);
    }
}
