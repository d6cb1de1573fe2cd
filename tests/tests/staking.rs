//! Staking and dividend on five real nodes, as files: how fast operations are taken and are everywhere, what a node does that
//! was away, dividends that add up through calls, an upgrade while operations flow.
//!
//! `WEIR_OPERATIONS` is how many operations a node misses while it is away. The long form:
//! `WEIR_OPERATIONS=100000 cargo xtask test --test staking -- --nocapture`.

#![expect(clippy::print_stdout, reason = "figures for people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_host::host::Host;
use weir_host::plugin::PluginInfo;
use weir_plugin_staking::items::Action;
use weir_tests::node::{PATIENCE, TestNode, source, until};
use weir_tests::token::{Token, Wallet, call, submit};

const NODES: usize = 5;
/// Operations of one account in one epoch; at most 64 may be pending.
const EACH: u64 = 50;
/// Operations of one epoch: what `status` counts.
const ROUND: u64 = 10_000;
/// How long an epoch may take to be closed everywhere, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(300);
/// Commands that wait at one node at once.
const AT_ONCE: usize = 32;

fn operations() -> u64 {
    std::env::var("WEIR_OPERATIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(2_000)
}

struct Five {
    nodes: Vec<TestNode>,
    token: Token,
}

impl Five {
    /// Five nodes, each connected with each, with these plugins.
    async fn start(name: &str, plugins: &[(&str, &[&str])]) -> Result<Self> {
        let token = Token::new(name)?;
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(TestNode::start().await?);
        }
        let five = Self { nodes, token };
        for node in &five.nodes {
            five.load(node, plugins).await?;
        }
        for at in 0..NODES {
            for other in at + 1..NODES {
                five.nodes[at].connect(&five.nodes[other]).await?;
            }
        }
        Ok(five)
    }

    async fn load(&self, node: &TestNode, plugins: &[(&str, &[&str])]) -> Result<()> {
        for (file, grants) in plugins {
            node.load_with(file, self.token.settings(grants)?).await?;
        }
        Ok(())
    }

    fn host(&self, node: usize) -> Host {
        self.nodes[node].host.clone()
    }

    /// The roots of a plugin on these nodes.
    async fn roots(&self, plugin: &str, nodes: std::ops::Range<usize>) -> Result<Vec<Value>> {
        let mut roots = Vec::new();
        for node in nodes {
            roots.push(call(&self.host(node), plugin, "root", json!({})).await?);
        }
        Ok(roots)
    }

    /// Waits until these nodes have closed an epoch of staking, and compares their roots.
    async fn closed(&self, epoch: u64, nodes: std::ops::Range<usize>, limit: Duration) -> Result<Value> {
        let since = Instant::now();
        loop {
            let roots = self.roots("staking", nodes.clone()).await?;
            if roots.iter().all(|root| root["epoch"].as_u64() >= Some(epoch)) {
                ensure!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
                return Ok(roots[0].clone());
            }
            if since.elapsed() > limit {
                let mut all = Vec::new();
                for node in nodes {
                    let mut status = call(&self.host(node), "staking", "status", json!({})).await?;
                    status["missing"] = Value::Null;
                    all.push(status.to_string());
                }
                bail!("after {limit:?} epoch {epoch} is not closed everywhere: {all:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every one of these nodes has so many operations pending.
    async fn pending(&self, count: u64, nodes: std::ops::Range<usize>) -> Result<()> {
        let since = Instant::now();
        loop {
            let mut pending = Vec::new();
            for node in nodes.clone() {
                let status = call(&self.host(node), "staking", "status", json!({})).await?;
                pending.push(status["pending"].as_u64().context("a number")?);
            }
            if pending.iter().all(|have| *have >= count) {
                return Ok(());
            }
            ensure!(since.elapsed() < LONG, "{count} operations should be everywhere: {pending:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Hands operations to nodes, each account's to one of them and in order. Returns how long it took.
async fn operate(hosts: &[Host], wallets: &mut [Wallet], each: u64) -> Result<Duration> {
    let mut queues: Vec<Vec<Vec<u8>>> = vec![Vec::new(); hosts.len() * AT_ONCE];
    for (at, wallet) in wallets.iter_mut().enumerate() {
        let queue = at % queues.len();
        queues[queue].extend((0..each).map(|number| wallet.sign(Action::Stake(u128::from(number) + 1))));
    }
    let (started, mut tasks) = (Instant::now(), JoinSet::new());
    for (at, queue) in queues.into_iter().enumerate() {
        let host = hosts[at % hosts.len()].clone();
        tasks.spawn(async move {
            for item in queue {
                submit(&host, "staking", &item).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn info(host: &Host, plugin: &str) -> Result<PluginInfo> {
    host.plugins().list().into_iter().find(|info| info.name == plugin).context("it is loaded")
}

/// Nothing of it crashed.
fn calm(five: &Five, plugins: &[&str]) -> Result<()> {
    for node in 0..NODES {
        for plugin in plugins {
            let info = info(&five.host(node), plugin)?;
            ensure!(info.counters.crashes == 0, "{plugin} on node {node}: {:?}", info.last_error);
            ensure!(info.muted.is_empty(), "{plugin} on node {node} has muted {:?}", info.muted);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_everywhere_and_a_node_that_was_away_catches_up() -> Result<()> {
    let mut five = Five::start("Five", &[("staking-1.0", &[])]).await?;
    let away = operations();
    let rounds = away.div_ceil(ROUND);
    let accounts = away.div_ceil(rounds).div_ceil(EACH);
    let mut wallets = five.token.wallets(accounts);
    let minted = Instant::now();
    five.token.mint(&five.host(0), &wallets, 1_000_000).await?;
    let (epoch, _) = five.token.epoch(&five.host(0)).await?;
    five.closed(epoch, 0..NODES, LONG).await?;
    println!("{accounts} mints are closed on five nodes after {:.2?}", minted.elapsed());

    // All five take operations.
    let hosts: Vec<_> = (0..NODES).map(|node| five.host(node)).collect();
    let (count, started) = (accounts * EACH, Instant::now());
    let accepted = operate(&hosts, &mut wallets, EACH).await?;
    five.pending(count, 0..NODES).await?;
    let everywhere = started.elapsed();
    let (epoch, included) = five.token.epoch(&five.host(0)).await?;
    ensure!(included == count, "{included} of {count} are in the epoch");
    let root = five.closed(epoch, 0..NODES, LONG).await?;
    println!(
        "{count} operations: {:.0}/s accepted, {:.0}/s on all five nodes, {:.0}/s in an epoch that all have closed; {root}",
        rate(count, accepted),
        rate(count, everywhere),
        rate(count, started.elapsed())
    );

    // One goes away; the others go on.
    let gone = NODES - 1;
    five.nodes[gone].host.shutdown().await;
    let (hosts, mut last, started) = (&hosts[..gone], epoch, Instant::now());
    for _ in 0..rounds {
        operate(hosts, &mut wallets, EACH).await?;
        five.pending(count, 0..gone).await?;
        let (epoch, included) = five.token.epoch(&five.host(0)).await?;
        ensure!(included == count, "{included} of {count} are in the epoch");
        five.closed(epoch, 0..gone, LONG).await?;
        last = epoch;
    }
    let missed = rounds * count;
    println!("{missed} operations in {rounds} epochs on four nodes: {:.0}/s", rate(missed, started.elapsed()));

    let mut node = five.nodes.remove(gone);
    node.start_again().await?;
    five.load(&node, &[("staking-1.0", &[])]).await?;
    five.nodes.push(node);
    let started = Instant::now();
    for other in 0..gone {
        five.nodes[gone].connect(&five.nodes[other]).await?;
    }
    five.closed(last, 0..NODES, Duration::from_secs(1_200)).await?;
    let took = started.elapsed();
    let counters = info(&five.host(gone), "staking")?.counters;
    println!(
        "the node that was away has caught up on {missed} operations after {took:.2?}: {:.0}/s, in {} turns with {} events",
        rate(missed, took),
        counters.turns,
        counters.events
    );
    calm(&five, &["staking"])
}

/// Sums over all accounts with an entitlement on a node: accrued, claimed, claimable.
async fn entitlements(node: &Host) -> Result<[u128; 3]> {
    let (mut sums, mut after) = ([0; 3], Value::Null);
    loop {
        let page = call(node, "dividend", "entitlements", json!({ "after": after, "limit": 7 })).await?;
        for account in page["accounts"].as_array().context("a list")? {
            for (sum, field) in sums.iter_mut().zip(["accrued", "claimed", "claimable"]) {
                *sum += account[field].as_str().context("an amount")?.parse::<u128>()?;
            }
        }
        after = page["next"].clone();
        if after.is_null() {
            return Ok(sums);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dividends_by_stake_add_up_on_all_nodes() -> Result<()> {
    let mut five = Five::start("Dividends", &[("staking-1.0", &[]), ("dividend-1.0", &["call:staking"])]).await?;
    let mut wallets = five.token.wallets(30);
    five.token.mint(&five.host(0), &wallets, 1_000_000).await?;
    let (epoch, _) = five.token.epoch(&five.host(0)).await?;
    // Whoever takes an operation must have heard of its account.
    five.closed(epoch, 0..NODES, LONG).await?;
    let hosts: Vec<_> = (0..NODES).map(|node| five.host(node)).collect();
    let mut declared = 0;
    for round in 1..=3_u64 {
        operate(&hosts, &mut wallets, round).await?;
        five.pending(30 * round, 0..1).await?;
        let amount = 1_000_003 * u128::from(round);
        let id = json!(five.token.declare(&hosts[round as usize], amount).await?);
        declared += amount;
        let host = five.host(0);
        until("the declaration is on the issuer's node", async || {
            let list = call(&host, "dividend", "list", json!({})).await;
            let has = |list: Value| list["open"].as_array().is_some_and(|open| open.iter().any(|one| one["id"] == id));
            list.is_ok_and(has)
        })
        .await?;
        let (epoch, _) = five.token.epoch(&host).await?;
        five.closed(epoch, 0..NODES, LONG).await?;
    }
    let epoch = call(&five.host(0), "staking", "root", json!({})).await?["epoch"].as_u64().context("a number")?;
    let counted = async || {
        let (since, mut roots) = (Instant::now(), Vec::new());
        while since.elapsed() < PATIENCE {
            roots = five.roots("dividend", 0..NODES).await?;
            if roots.iter().all(|root| root["epoch"] == epoch && root["counted"] == 3 && *root == roots[0]) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("dividend should have counted 3 declarations up to epoch {epoch} everywhere: {roots:#?}")
    };
    counted().await?;
    let before = entitlements(&five.host(4)).await?;
    ensure!(before[1] == 0 && before[0] <= declared && declared - before[0] <= 30, "{declared} declared, {before:?}");
    for (at, wallet) in wallets.iter().enumerate().take(10) {
        submit(&five.host(at % NODES), "dividend", &wallet.claim(epoch)).await?;
    }
    let claimed = async || {
        let mut all = Vec::new();
        for host in &hosts {
            all.push(entitlements(host).await?);
        }
        anyhow::Ok(all)
    };
    until("all claims are on all nodes", async || {
        claimed().await.is_ok_and(|all| all.iter().all(|sums| *sums == all[0] && sums[1] >= before[0] / 4))
    })
    .await?;
    let sums = claimed().await?[0];
    let dust = declared - sums[1] - sums[2];
    ensure!(sums[0] == before[0] && dust <= 30, "{declared} declared, {sums:?}");
    println!("{declared} declared = {} claimed + {} claimable + {dust} dust, the same on five nodes", sums[1], sums[2]);
    calm(&five, &["staking", "dividend"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staking_is_upgraded_while_operations_flow() -> Result<()> {
    let five = Five::start("Upgrades", &[("staking-1.0", &[])]).await?;
    let wallets = five.token.wallets(40);
    five.token.mint(&five.host(0), &wallets, 1_000_000).await?;
    let (epoch, _) = five.token.epoch(&five.host(0)).await?;
    five.closed(epoch, 0..NODES, LONG).await?;
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut flows = JoinSet::new();
    for (at, mut wallet) in wallets.into_iter().enumerate() {
        let (host, over, done) = (five.host(at % NODES), over.clone(), done.clone());
        flows.spawn(async move {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                submit(&host, "staking", &wallet.sign(Action::Stake(number + 1))).await?;
                done.fetch_add(1, Ordering::Relaxed);
                // Its pace: people do not sign faster.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        });
    }
    let (mut included, mut last) = (0, 0);
    for node in 0..NODES {
        let before = done.load(Ordering::Relaxed);
        until("operations flow", async || done.load(Ordering::Relaxed) > before + 40).await?;
        let next = source("staking-1.1", five.token.settings(&[])?)?;
        let report = five.host(node).plugins().upgrade("staking", next).await?;
        println!(
            "node {node}: upgraded after {} operations, held for {:.2?}",
            done.load(Ordering::Relaxed),
            report.pause
        );
        // Both versions follow the issuer's log together.
        let (epoch, more) = five.token.epoch(&five.host(0)).await?;
        (included, last) = (included + more, epoch);
    }
    five.closed(last, 0..NODES, LONG).await?;
    over.store(true, Ordering::Relaxed);
    while let Some(flow) = flows.join_next().await {
        flow??;
    }
    let count = done.load(Ordering::Relaxed);
    ensure!(included > 0 && included < count, "{included} of {count} are in epochs while they flow");
    five.pending(count - included, 0..NODES).await?;
    let (epoch, more) = five.token.epoch(&five.host(0)).await?;
    ensure!(included + more == count, "{included} and {more} of {count} are in epochs");
    let root = five.closed(epoch, 0..NODES, LONG).await?;
    for node in 0..NODES {
        let host = five.host(node);
        until("the index is made", async || call(&host, "staking", "top", json!({ "limit": 1 })).await.is_ok()).await?;
        let top = call(&host, "staking", "top", json!({ "limit": 50 })).await?;
        ensure!(top["accounts"].as_array().map(Vec::len) == Some(40), "{top}");
    }
    println!("{count} operations, none lost; {root}");
    calm(&five, &["staking"])
}
