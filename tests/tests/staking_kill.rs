//! Staking with durability `strict` on real nodes: a node never offers a number again that it has gossiped.
//!
//! One node takes the operations of many accounts and is killed in the middle of it, at moments nobody chose; another hears
//! them by gossip and lives on. Until the one that was killed has been asked, the other one blocks it: what it says of its
//! accounts is on its own disk, and nobody gave it back. With `relaxed` a run of twelve kills finds some thirty numbers
//! that are offered again.
//!
//! `WEIR_KILLS=500 cargo xtask test --test staking_kill -- --nocapture` for more than the few of every run; `WEIR_SEED`
//! repeats the moments.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_host::admin::{AdminClient, AdminRequest, ClientError};
use weir_ledger::{Id, to_hex};
use weir_plugin_staking::items::Action;
use weir_tests::dice::{Dice, number, seed};
use weir_tests::guests::guest;
use weir_tests::node::until;
use weir_tests::token::{Token, Wallet};
use weir_tests::weir::Weir;

/// Kills of a run that has no time.
const KILLS: u64 = 12;
/// As many operations are on their way to the node at once.
const ACCOUNTS: u64 = 24;
/// Pending operations of one account before an epoch is closed, and in all: a ledger lets 64 be pending.
const ENOUGH: u64 = 40;
const MOST: u64 = 60;

/// An account and what became of what it signed.
struct Account {
    wallet: Wallet,
    /// By their numbers.
    signed: Vec<Vec<u8>>,
    /// The number that it submits next.
    next: u64,
    /// Numbers below were accepted.
    accepted: u64,
    /// Numbers below are in epochs that both nodes have closed.
    included: u64,
    /// Numbers below were seen by the other node.
    seen: u64,
}

impl Account {
    fn new(wallet: Wallet) -> Self {
        Self { wallet, signed: Vec::new(), next: 0, accepted: 0, included: 0, seen: 0 }
    }

    /// Submits one operation after the other until the node is gone.
    async fn submit_on(mut self, node: AdminClient) -> Result<Self> {
        while self.next < self.included + MOST {
            if self.next == self.signed.len() as u64 {
                self.signed.push(self.wallet.sign(Action::Stake(u128::from(self.next) + 1)));
            }
            let item = to_hex(&self.signed[self.next as usize]);
            match call(&node, "submit", json!({ "op": item })).await {
                Ok(_) => self.next += 1,
                Err(ClientError::Refused(why)) => bail!("number {} is refused: {why:?}", self.next),
                Err(_) => break,
            }
            self.accepted = self.accepted.max(self.next);
        }
        Ok(self)
    }
}

/// A command of staking.
async fn call(node: &AdminClient, command: &str, args: Value) -> Result<Value, ClientError> {
    let request = AdminRequest::post(format!("/v1/call/staking/{command}"), args.to_string());
    let answer = node.send(request).await?;
    serde_json::from_slice(&answer).map_err(|error| ClientError::Unexpected(error.to_string()))
}

fn count(answer: &Value, key: &str) -> Result<u64> {
    answer[key].as_u64().with_context(|| format!("no number `{key}` in {answer}"))
}

#[derive(Debug, Default)]
struct Totals {
    /// Restarts after which the node was asked.
    asked: u64,
    /// Lives of which the other node saw something.
    seen: u64,
    /// Operations that the other node saw and whose answer was cut off.
    unanswered: u64,
    /// Numbers that the node would have given out again although the other node had seen them, or it had accepted them.
    again: u64,
}

struct Scene {
    token: Token,
    /// Is killed.
    node: Weir,
    /// Hears of everything.
    other: Weir,
    accounts: Vec<Account>,
    totals: Totals,
}

impl Scene {
    async fn start() -> Result<Self> {
        let token = Token::new("Kills")?;
        let (node, other) = (Weir::init()?, Weir::init()?);
        let accounts = token.wallets(ACCOUNTS).into_iter().map(Account::new).collect();
        let mut scene = Self { token, node, other, accounts, totals: Totals::default() };
        for weir in [&mut scene.node, &mut scene.other] {
            let folder = weir.folder().join("plugins");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("staking.wasm"), guest("staking-1.0"))?;
            std::fs::write(folder.join("staking.toml"), scene.token.settings_file(&[])?)?;
            weir.run()?;
            ready(&client(weir)).await?;
        }
        scene.meet().await?;
        scene.mint().await?;
        scene.close().await?;
        Ok(scene)
    }

    /// Lets the node dial the other one.
    async fn meet(&self) -> Result<()> {
        self.node.json(&["peers", "add", &self.other.address])?;
        until("the nodes share the protocol", async || {
            let peers = self.node.json(&["peers"]).unwrap_or_default();
            peers["peers"][0]["protocols"].as_array().is_some_and(|shared| shared.len() == 1)
        })
        .await
    }

    async fn mint(&self) -> Result<()> {
        let status = call(&client(&self.node), "status", json!({})).await?;
        let mut before: Id = status["issuer"]["head"].as_str().context("an id")?.parse()?;
        for (seq, account) in (0..).zip(&self.accounts) {
            let mint = self.token.mint_to(account.wallet.account(), u128::from(u64::MAX), seq, &mut before);
            call(&client(&self.node), "submit", json!({ "op": to_hex(&mint) })).await?;
        }
        Ok(())
    }

    /// Closes an epoch with everything that is pending, on both nodes.
    async fn close(&mut self) -> Result<()> {
        let [node, other] = [client(&self.node), client(&self.other)];
        until("both nodes have the same pending operations", async || {
            let pending =
                async |node| call(node, "status", json!({})).await.map_or(Value::Null, |s| s["pending"].clone());
            let ours = pending(&node).await;
            ours.is_u64() && ours == pending(&other).await
        })
        .await?;
        let draft = call(&node, "draft", json!({ "anchors": [] })).await?;
        ensure!(draft["complete"] == true, "the epoch does not take everything: {draft}");
        call(&node, "submit", json!({ "op": to_hex(&self.token.sign(&draft)?) })).await?;
        for node in [&node, &other] {
            until("the epoch is closed", async || {
                call(node, "root", json!({})).await.is_ok_and(|root| root["epoch"] == draft["epoch"])
            })
            .await?;
        }
        for account in &mut self.accounts {
            let answer = call(&node, "account", json!({ "account": account.wallet.account() })).await?;
            account.included = count(&answer, "next_seq")?;
        }
        Ok(())
    }

    /// Lets all accounts submit as fast as they can, and kills the node after a while.
    async fn live(&mut self, within: Duration) -> Result<()> {
        let mut hands = JoinSet::new();
        for account in self.accounts.drain(..) {
            hands.spawn(account.submit_on(client(&self.node)));
        }
        tokio::time::sleep(within).await;
        self.node.kill()?;
        while let Some(account) = hands.join_next().await {
            self.accounts.push(account??);
        }
        Ok(())
    }

    /// Starts the node again, and compares what it says with what it accepted and what the other one saw.
    async fn ask(&mut self) -> Result<()> {
        self.other.json(&["access", "block", &self.node.peer_id])?;
        self.node.run()?;
        let [node, other] = [client(&self.node), client(&self.other)];
        ready(&node).await?;
        let mut more = false;
        for account in &mut self.accounts {
            let key = json!({ "account": account.wallet.account() });
            let ours = count(&call(&node, "account", key.clone()).await?, "next_seq")?;
            let theirs = call(&other, "account", key).await?;
            // Behind a gap, too: numbers that only the dead node had.
            let seen = count(&theirs, "next_seq")?.max(account.included + count(&theirs, "pending")?);
            more |= seen > account.seen;
            account.seen = seen;
            self.totals.unanswered += seen.saturating_sub(account.accepted);
            self.totals.again += seen.max(account.accepted).saturating_sub(ours);
            account.next = ours;
        }
        let peers = self.node.json(&["peers"])?;
        let alone = peers["peers"].as_array().is_some_and(|peers| peers.iter().all(|peer| peer["connected"] == false));
        ensure!(alone, "somebody may have given the node what it had lost: {peers}");
        self.totals.asked += 1;
        self.totals.seen += u64::from(more);
        Ok(())
    }
}

fn client(weir: &Weir) -> AdminClient {
    AdminClient::new(weir.folder().join("weir.sock"))
}

async fn ready(node: &AdminClient) -> Result<()> {
    until("staking answers", async || call(node, "root", json!({})).await.is_ok()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_gossiped_is_never_offered_again() -> Result<()> {
    let (kills, seed) = (number("WEIR_KILLS")?.unwrap_or(KILLS), seed()?);
    eprintln!("{kills} kills, WEIR_SEED={seed}");
    let (mut dice, started) = (Dice::new(seed), Instant::now());
    let mut scene = Scene::start().await?;
    let listed = scene.node.json(&["plugin", "list"])?;
    ensure!(listed["plugins"][0]["durability"] == "strict", "{listed}");
    eprintln!("ready after {:.1?}", started.elapsed());
    for kill in 1..=kills {
        if kill % 50 == 0 {
            eprintln!("{kill} kills after {:.0} s", started.elapsed().as_secs_f64());
        }
        scene.live(Duration::from_micros(dice.draw(600_000))).await?;
        // One in five dies once more while it starts.
        if dice.draw(5) == 0 {
            scene.node.begin()?;
            tokio::time::sleep(Duration::from_micros(dice.draw(500_000))).await;
            scene.node.kill()?;
        }
        let moment = || format!("kill {kill} of seed {seed}");
        scene.ask().await.with_context(moment)?;
        scene.other.json(&["access", "unblock", &scene.node.peer_id])?;
        scene.meet().await.with_context(moment)?;
        if scene.accounts.iter().any(|account| account.next > account.included + ENOUGH) {
            scene.close().await.with_context(moment)?;
        }
    }
    scene.close().await?;
    let operations: u64 = scene.accounts.iter().map(|account| account.included).sum();
    eprintln!("{operations} operations in {:.0} s; {:?}", started.elapsed().as_secs_f64(), scene.totals);
    let totals = &scene.totals;
    assert_eq!(totals.again, 0, "numbers are given out again: {totals:?}, seed {seed}");
    assert!(totals.seen > kills / 2 && operations > kills, "too little was seen: {totals:?}");
    let roots = [&scene.node, &scene.other].map(|weir| weir.json(&["call", "staking", "root"]));
    let [ours, theirs] = roots;
    assert_eq!(ours?, theirs?);
    Ok(())
}
