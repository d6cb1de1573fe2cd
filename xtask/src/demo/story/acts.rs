//! What happens, act by act.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_plugin_staking::commands::TopAnswer;
use weir_plugin_staking::items::{Action, Decree, Order, Signed};
use weir_wallet::Wallet;
use weir_wallet::node::{DIVIDEND, STAKING};

use super::cast::Cast;
use super::flow::{send, submit_all, while_flowing};
use super::stage::{LONG, SOON, Stage};
use super::together::{ISSUER, agreed, close, everywhere};
use crate::demo::number::grouped;

/// What is declared: a prime, so that almost nobody's share is a whole number.
const DECLARED: u128 = 1_000_003;
/// Where the payer speaks.
const PAYER: usize = 1;
const SIDES: [&[usize]; 2] = [&[0, 1, 2], &[3, 4]];
/// The node that loses its dividends for a while.
const WITHOUT: usize = 4;

/// Plays everything.
pub fn play(stage: &Stage, cast: &mut Cast) -> Result<()> {
    type Act = fn(&Stage, &mut Cast) -> Result<()>;
    let acts: [(&'static str, Act); 7] = [
        ("plugins", plugins),
        ("mint", mint),
        ("stake", stake),
        ("partition", partition),
        ("dividend", dividend),
        ("upgrade", upgrade),
        ("remove", remove),
    ];
    for (name, act) in acts {
        let started = Instant::now();
        act(stage, cast)?;
        stage.end_of_act();
        cast.tally.acts.push((name, started.elapsed()));
    }
    Ok(())
}

fn plugins(stage: &Stage, _: &mut Cast) -> Result<()> {
    stage.screen.step("staking 1.0 and dividend 1.0 into every node's plugin folder, and all nodes together");
    for node in &stage.nodes {
        stage.drop_in(node, STAKING, &stage.plugins.staking.old)?;
        stage.drop_in(node, DIVIDEND, &stage.plugins.dividend)?;
    }
    for plugin in [STAKING, DIVIDEND] {
        stage.until(&stage.all(), &format!("the plugin {plugin}"), LONG, |node| {
            Ok(stage.version(&stage.nodes[node], plugin)?.is_some())
        })?;
    }
    stage.connect()?;
    stage.screen.fact(&format!("one network, genesis {}; every node knows four others", stage.genesis.short()));
    Ok(())
}

fn mint(stage: &Stage, cast: &mut Cast) -> Result<()> {
    let count = cast.everybody().count();
    stage.screen.step(&format!("the issuer mints for {} accounts", grouped(count)));
    let (mut before, mut decrees) = (stage.genesis, Vec::new());
    for (seq, account) in cast.everybody().enumerate() {
        let order = Order::Mint { to: account.key(), amount: account.mint };
        let decree = Decree { key: cast.issuer.key(), reign: 0, seq: seq as u64, before, order };
        let signed = Signed::sign(decree, &cast.issuer, stage.genesis);
        before = signed.id();
        decrees.push(signed.bytes().to_vec());
    }
    submit_all(stage, &stage.nodes[ISSUER], STAKING, &decrees, "mints")?;
    cast.tally.mints = decrees.len() as u64;
    stage.until(&stage.all(), "the issuer's whole log", LONG, |node| {
        Ok(stage.ledgers(node).status()?.issuer.next_seq == decrees.len() as u64)
    })?;
    let total: u128 = cast.everybody().map(|account| account.mint).sum();
    stage.screen.fact(&format!("{} tokens, known on every node", grouped(total)));
    Ok(())
}

fn stake(stage: &Stage, cast: &mut Cast) -> Result<()> {
    stage.screen.step("every account stakes what stands in examples/data/stakes.csv, each through its own node");
    let genesis = stage.genesis;
    let sent = send(stage, &mut cast.accounts, &stage.all(), STAKING, "stakes", |_, account| {
        Some(account.sign(Action::Stake(account.stake), genesis))
    })?;
    close(stage, cast, sent)?;
    let root = everywhere(stage, &stage.all())?;
    agreed(stage, &stage.all(), root.epoch, 0)?;
    let total: u128 = cast.everybody().map(|account| account.staked).sum();
    stage.screen.fact(&format!(
        "epoch {}: {} at stake, root {} on every node",
        root.epoch,
        grouped(total),
        root.root.short()
    ));
    Ok(())
}

fn partition(stage: &Stage, cast: &mut Cast) -> Result<()> {
    stage.screen.step("the network is cut: a, b, c block d, e, and the other way round; both sides go on");
    let (genesis, [large, small]) = (stage.genesis, SIDES);
    stage.cut(large, small)?;
    let before = stage.ledgers(small[0]).root()?;
    let on_large = send(stage, &mut cast.accounts, large, STAKING, "operations of one side", |place, account| {
        (place < 100).then(|| account.sign(Action::Unstake((account.stake / 10).max(1)), genesis))
    })?;
    let on_small =
        send(stage, &mut cast.accounts, small, STAKING, "operations of the other side", |place, account| {
            (place < 100).then(|| account.sign(Action::Stake(500), genesis))
        })?;
    cast.tally.apart = [on_large, on_small];
    close(stage, cast, on_large)?;
    let root = everywhere(stage, large)?;
    for node in small {
        let theirs = stage.ledgers(*node).root()?;
        let name = stage.nodes[*node].name;
        ensure!(theirs == before, "node {name} is cut off and closed epoch {} all the same", theirs.epoch);
    }
    stage.until(
        small,
        "each other's operations",
        LONG,
        |node| Ok(stage.ledgers(node).status()?.pending == on_small),
    )?;
    stage.screen.fact(&format!(
        "{on_large} operations in epoch {} on one side, {on_small} pending on the other, which stays at epoch {}",
        root.epoch, before.epoch
    ));
    stage.screen.step("the network heals");
    let healing = Instant::now();
    stage.heal(large, small)?;
    everywhere(stage, &stage.all())?;
    cast.tally.healed = healing.elapsed();
    let took = cast.tally.healed.as_secs_f64();
    stage.screen.fact(&format!(
        "{took:.1} s later every node has epoch {} with root {}",
        root.epoch,
        root.root.short()
    ));
    close(stage, cast, on_small)?;
    let root = everywhere(stage, &stage.all())?;
    agreed(stage, &stage.all(), root.epoch, 0)?;
    stage.screen.fact(&format!("epoch {} includes what the smaller side had pending", root.epoch));
    Ok(())
}

fn dividend(stage: &Stage, cast: &mut Cast) -> Result<()> {
    stage.screen.step(&format!("a dividend of {} is declared, and two of three accounts claim", grouped(DECLARED)));
    let mut payer = Wallet::open(&stage.payer, stage.nodes[PAYER].client.api().clone())?;
    let declared = payer.declare(DECLARED).with_context(|| stage.nodes[PAYER].with_log("the payer's wallet failed"))?;
    cast.tally.declared = DECLARED;
    stage.until(&[ISSUER], "the declaration", LONG, |node| {
        Ok(stage.ledgers(node).declarations()?.open.iter().any(|open| open.id == declared.id))
    })?;
    close(stage, cast, 0)?;
    let root = everywhere(stage, &stage.all())?;
    cast.tally.record = cast.everybody().map(|account| (account.key(), account.staked)).collect();
    let dividends = agreed(stage, &stage.all(), root.epoch, 1)?;
    stage.screen.fact(&format!(
        "record date is epoch {}; dividends' root {} on every node",
        root.epoch,
        dividends.short()
    ));
    claim(stage, cast, &stage.all(), root.epoch, |place| place % 3 != 2)?;
    let dividends = agreed(stage, &stage.all(), root.epoch, 1)?;
    stage.screen.fact(&format!(
        "{} claims; dividends' root {} on every node",
        grouped(cast.tally.claims),
        dividends.short()
    ));
    Ok(())
}

fn claim(
    stage: &Stage,
    cast: &mut Cast,
    nodes: &[usize],
    epoch: u64,
    who: impl Fn(usize) -> bool + Sync,
) -> Result<()> {
    let genesis = stage.genesis;
    let claims = send(stage, &mut cast.accounts, nodes, DIVIDEND, "claims", |place, account| {
        who(place).then(|| account.claim(epoch, genesis))
    })?;
    for node in nodes {
        let claimed = cast.accounts[*node].iter().enumerate().filter(|(place, _)| who(*place));
        let claimed: Vec<_> = claimed.map(|(_, account)| account.key()).collect();
        cast.tally.claimed.extend(claimed);
    }
    cast.tally.claims += claims;
    Ok(())
}

fn upgrade(stage: &Stage, cast: &mut Cast) -> Result<()> {
    stage.screen.step("staking 1.0 → 1.1 on one node after the other, while operations flow through all of them");
    let (sent, pauses) = while_flowing(stage, &mut cast.accounts, |sent| {
        let pauses = stage.all().into_iter().map(|node| upgrade_one(stage, node, sent));
        pauses.collect::<Result<Vec<_>>>()
    })?;
    (cast.tally.flowing, cast.tally.pauses) = (sent, pauses);
    close(stage, cast, sent)?;
    let root = everywhere(stage, &stage.all())?;
    agreed(stage, &stage.all(), root.epoch, 1)?;
    stage.screen.fact(&format!("{} operations meanwhile, all in epoch {}", grouped(sent), root.epoch));
    let mut largest: Vec<_> = cast.everybody().map(|account| (account.staked, account.key())).collect();
    // As staking orders them: by stake from large to small, then by account.
    largest.sort_by_key(|(staked, key)| (std::cmp::Reverse(*staked), *key));
    stage.until(&stage.all(), "the same ten largest stakes in the new command `top`", LONG, |node| {
        let Ok(answer) = stage.ledgers(node).0.call(STAKING, "top", &json!({"limit": 10})) else { return Ok(false) };
        let answer: TopAnswer = serde_json::from_value(answer).context("read the answer of `top`")?;
        Ok(answer.accounts.iter().map(|entry| (entry.staked, entry.account)).eq(largest.iter().take(10).copied()))
    })?;
    let (staked, key) = largest.first().context("there are accounts")?;
    stage.screen.fact(&format!(
        "`top`, which 1.0 had not, says on every node: {} has most, {}",
        key.short(),
        grouped(staked)
    ));
    Ok(())
}

fn upgrade_one(stage: &Stage, node: usize, sent: &AtomicU64) -> Result<Duration> {
    let (node, at) = (&stage.nodes[node], sent.load(Ordering::Relaxed));
    stage.screen.state(&format!("upgrading node {}", node.name));
    let file = stage.plugins.staking.new.to_str().context("the plugin's path is UTF-8")?;
    let answer = node.weir(&["plugin", "upgrade", STAKING, file, "--save"])?;
    let pause = answer["pause_us"].as_u64().map(Duration::from_micros);
    let pause = pause.with_context(|| format!("node {} does not say how long it paused: {answer}", node.name))?;
    let version = stage.version(node, STAKING)?;
    ensure!(version.as_deref() == Some("1.1.0"), node.with_log(&format!("after the upgrade staking is {version:?}")));
    let copied = answer["copied_bytes"]
        .as_u64()
        .map_or(String::new(), |bytes| format!(", {} bytes of its store copied for a way back", grouped(bytes)));
    stage.screen.fact(&format!(
        "node {} after {} operations: held for {:.1} ms{copied}",
        node.name,
        grouped(at),
        pause.as_secs_f64() * 1e3
    ));
    Ok(pause)
}

fn remove(stage: &Stage, cast: &mut Cast) -> Result<()> {
    let node = &stage.nodes[WITHOUT];
    stage.screen.step(&format!(
        "dividend is taken out of node {}'s folder, the others go on, and it is dropped back in",
        node.name
    ));
    let (file, aside) = (node.directory.join("plugins/dividend.wasm"), node.directory.join("dividend.wasm"));
    fs::rename(&file, &aside).with_context(|| format!("take {} away", file.display()))?;
    stage.until(&[WITHOUT], "dividend to end", SOON, |_| Ok(stage.version(node, DIVIDEND)?.is_none()))?;
    let epoch = stage.ledgers(ISSUER).root()?.epoch;
    let before = cast.tally.claims;
    let others: Vec<_> = stage.all().into_iter().filter(|node| *node != WITHOUT).collect();
    claim(stage, cast, &others, epoch, |place| place % 6 == 2)?;
    agreed(stage, &others, epoch, 1)?;
    stage.screen.fact(&format!(
        "{} more claims on the other nodes; {} lists no dividend",
        cast.tally.claims - before,
        node.name
    ));
    let started = Instant::now();
    fs::rename(&aside, &file).with_context(|| format!("put {} back", file.display()))?;
    stage.until(&[WITHOUT], "dividend to be loaded again", SOON, |_| Ok(stage.version(node, DIVIDEND)?.is_some()))?;
    let root = agreed(stage, &stage.all(), epoch, 1)?;
    cast.tally.back = started.elapsed();
    let took = cast.tally.back.as_secs_f64();
    stage
        .screen
        .fact(&format!("dropped back in: {took:.1} s later its dividends' root is {} as everywhere", root.short()));
    Ok(())
}
