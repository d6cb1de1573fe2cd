//! The same runs with native and with compiled code, entry by entry: latency, disconnects, partitions, crashes, processes that
//! die with a part of their store, upgrades in the middle. A difference prints the first entry that differs, on both sides.
//!
//! `WEIR_SEEDS` is how many seeds each run is played with:
//! `WEIR_SEEDS=100 cargo xtask test --test testnet_wasm -- --nocapture`.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures for people")]

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weir_ledger::to_hex;
use weir_plugin_dividend::Dividend;
use weir_plugin_ping::{First, Ping, Second};
use weir_plugin_staking::Staking;
use weir_plugin_staking::items::Action;
use weir_sdk::Plugin;
use weir_sdk::testing::{Faults, LinkSpec, Native, Network, Random, Scenario, Step, TestNet};
use weir_tests::guests::guest;
use weir_tests::testnet::news::News;
use weir_tests::testnet::{Compiled, Pair, both};
use weir_tests::token::{Token, Wallet};

fn seeds() -> std::ops::RangeInclusive<u64> {
    let seeds = std::env::var("WEIR_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    1..=seeds.unwrap_or(4)
}

fn pair<P: Plugin>(compiled: &Rc<Compiled>, file: &str, grants: &[&str], config: &Value) -> Result<Pair> {
    let wasm = compiled.revision(guest(file), grants).with_context(|| format!("compiling {file}"))?;
    let config = if config.is_null() { String::new() } else { config.to_string() };
    Ok(Pair { native: Rc::new(Native::<P>::default()), wasm, config })
}

/// Slow and narrow links beside fast ones, and small lanes, so that they are full at times.
fn network(seed: u64, nodes: u32) -> Network {
    Network { seed, nodes, lane_bytes: 16 << 10, clock_skew_ms: 50, ..Network::default() }
}

fn faults(nodes: u32, to_ms: u64) -> Faults {
    Faults { from_ms: 500, to_ms, breaks: nodes, crashes: nodes / 2, kills: nodes / 2, partitions: 2, spared: 1 }
}

/// What happened in all runs of a test, by kind of entry.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn add(&mut self, net: &TestNet) {
        for entry in net.trace().entries() {
            *self.0.entry(entry.note.kind.clone()).or_default() += 1;
        }
    }

    /// The runs did what they are there to show. One seed alone may not have everything.
    fn check(&self, kinds: &[&str]) -> Result<()> {
        let missing: Vec<_> = kinds.iter().filter(|kind| !self.0.contains_key(**kind)).collect();
        ensure!(missing.is_empty() || seeds().count() < 4, "{missing:?} did not happen: {:?}", self.0);
        Ok(())
    }
}

fn tell(what: &str, seed: u64, net: &TestNet) {
    let digest: String = net.trace().digest().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let (entries, totals) = (net.trace().len(), net.totals());
    println!(
        "{what}, seed {seed}: {entries} entries agree, {} turns, {} crashes, {digest}",
        totals.turns, totals.crashes
    );
}

/// Commands of ping between random nodes, all through the faults.
fn pings(seed: u64, net: &mut TestNet) {
    let (nodes, end) = (net.nodes().end, 8_000);
    let mut random = Random::new(seed);
    let mut scenario = Scenario::new(network(seed, nodes), end + 3_000).full_mesh().faults(&faults(nodes, end));
    let slow = LinkSpec { latency_us: 90_000, jitter_us: 60_000, bytes_per_ms: 40 };
    scenario = scenario.at(0, Step::Link(0, 1, slow)).at(0, Step::Room { from: 1, to: 2, bytes: 3_000 });
    for number in 0..60 {
        let (node, peer) = (random.within(0..nodes.into()) as u32, random.within(0..nodes.into()) as u32);
        let peer = net.id(peer);
        let (name, args) = match number % 4 {
            0 => ("ping", json!({ "peer": peer, "count": 5, "size": 300, "concurrency": 3 })),
            1 => ("flood", json!({ "peer": peer, "count": 300, "size": 200 })),
            2 => (
                "send",
                json!({ "peer": peer, "size": 100, "data": "to be continued ".repeat(40), "encoding": "text" }),
            ),
            _ => ("stats", json!(null)),
        };
        let step = Step::Command { node, plugin: 0, name: name.to_owned(), args: args.to_string() };
        scenario = scenario.at(300 + random.within(0..end), step);
    }
    for node in 0..nodes {
        scenario = scenario.at(random.within(1_000..end), Step::Upgrade { node, plugin: 0, revision: 0 });
        let stats = Step::Command { node, plugin: 0, name: "stats".to_owned(), args: "null".to_owned() };
        scenario = scenario.at(end + 2_500, stats);
    }
    net.play(&scenario);
}

#[test]
fn ping_is_the_same_natively_and_compiled() -> Result<()> {
    let compiled = Compiled::new()?;
    let ping = pair::<Ping<First>>(&compiled, "ping-0.1", &[], &Value::Null)?;
    let next = pair::<Ping<Second>>(&compiled, "ping-0.2", &[], &Value::Null)?;
    let mut seen = Seen::default();
    for seed in seeds() {
        let net = both(&network(seed, 5), std::slice::from_ref(&ping), std::slice::from_ref(&next), |net| {
            pings(seed, net);
        })
        .with_context(|| format!("seed {seed}"))?;
        seen.add(&net);
        tell("ping", seed, &net);
    }
    seen.check(&["ask", "response", "respond", "send", "undelivered", "congested", "answer", "put", "crash"])
}

/// Every command of `news`, on random nodes.
fn gossips(seed: u64, net: &mut TestNet) {
    let (nodes, end) = (net.nodes().end, 8_000);
    let mut random = Random::new(seed);
    let mut scenario = Scenario::new(network(seed, nodes), end + 6_000).random_mesh(4).faults(&faults(nodes, end));
    for number in 0..150 {
        let node = random.within(0..nodes.into()) as u32;
        let (name, args) = match number % 15 {
            0..=5 => ("say", json!(format!("text {number} {}", "x".repeat(random.within(0..400) as usize)))),
            6 => ("say", json!(format!("{} {number}", if number % 2 == 0 { '!' } else { '?' }))),
            7 => ("talk", json!(number / 15 % 5)),
            8 => ("fill", json!(40)),
            9 => ("odd", json!(null)),
            10 => ("later", json!(null)),
            11 => ("fail", json!(null)),
            12 => (["panic", "fatal", "flood"][number as usize / 15 % 3], json!(null)),
            13 => ("fill", json!(2_000)),
            _ => ("nonsense", json!(null)),
        };
        let step = Step::Command { node, plugin: 0, name: name.to_owned(), args: args.to_string() };
        scenario = scenario.at(300 + random.within(0..end), step);
    }
    for node in 0..nodes {
        scenario = scenario.at(random.within(1_000..end), Step::Upgrade { node, plugin: 0, revision: 0 });
    }
    net.play(&scenario);
}

#[test]
fn gossip_and_every_import_are_the_same_natively_and_compiled() -> Result<()> {
    let compiled = Compiled::new()?;
    let news = pair::<News>(&compiled, "news", &["protocol:/news-late"], &Value::Null)?;
    let kinds = [
        "message",
        "request",
        "response",
        "command",
        "peer-supported",
        "peer-unsupported",
        "congested",
        "relieved",
        "undelivered",
        "withdrawn",
        "timer",
        "start",
        "crash",
        "send",
        "ask",
        "cancel",
        "respond",
        "register",
        "unregister",
        "pause",
        "report",
        "put",
        "remove",
        "nothing",
        "set-timer",
        "cancel-timer",
        "answer",
    ];
    let mut seen = Seen::default();
    for seed in seeds() {
        let net = both(&network(seed, 8), std::slice::from_ref(&news), std::slice::from_ref(&news), |net| {
            gossips(seed, net);
        })
        .with_context(|| format!("seed {seed}"))?;
        seen.add(&net);
        tell("news", seed, &net);
    }
    seen.check(&kinds)
}

const STAKING: u32 = 0;
const DIVIDEND: u32 = 1;

/// People and an issuer at work on nodes that run both plugins.
struct Ledgers<'a> {
    net: &'a mut TestNet,
    token: Token,
    wallets: Vec<Wallet>,
    random: Random,
}

impl Ledgers<'_> {
    /// The answer; none from a node that is not there.
    fn command(&mut self, node: u32, plugin: u32, name: &str, args: &Value) -> Option<Value> {
        let ticket = self.net.submit_to(node, plugin, name, args.to_string());
        let mut answer = None;
        let answered = self.net.run_until(40_000, |net| {
            answer = net.answer(ticket);
            answer.is_some()
        });
        assert!(answered, "{name} of plugin {plugin} on node {node} is not answered");
        answer.and_then(Result::ok)
    }

    fn submit(&mut self, node: u32, plugin: u32, item: &[u8]) -> bool {
        self.command(node, plugin, "submit", &json!({ "op": to_hex(item) })).is_some()
    }

    fn mint(&mut self) {
        let status = self.command(0, STAKING, "status", &json!({})).expect("a status");
        let mut before = status["issuer"]["head"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let accounts: Vec<_> = self.wallets.iter().map(Wallet::account).collect();
        for (seq, account) in (0..).zip(accounts) {
            let mint = self.token.mint_to(account, 10_000, seq, &mut before);
            assert!(self.submit(0, STAKING, &mint), "a mint");
        }
    }

    fn epoch(&mut self) {
        let list = self.command(0, DIVIDEND, "list", &json!({}));
        let open = list.and_then(|list| list["open"].as_array().cloned()).unwrap_or_default();
        let anchors: Vec<_> = open.iter().map(|open| json!({ "topic": "dividend", "id": open["id"] })).collect();
        if let Some(draft) = self.command(0, STAKING, "draft", &json!({ "anchors": anchors })) {
            let epoch = self.token.sign(&draft).expect("a draft");
            self.submit(0, STAKING, &epoch);
        }
    }

    fn operate(&mut self) {
        let who = self.random.within(0..self.wallets.len() as u64) as usize;
        let amount = 1 + u128::from(self.random.within(0..900));
        let action = if self.random.within(0..10) < 7 { Action::Stake(amount) } else { Action::Unstake(amount) };
        let node = self.random.within(0..self.net.nodes().end.into()) as u32;
        let signed = self.wallets[who].clone().sign(action);
        if self.net.is_up(node) && self.submit(node, STAKING, &signed) {
            self.wallets[who].sign(action);
        }
    }

    fn play(&mut self, faults: &Faults, network: Network) {
        self.net.random_mesh(4);
        self.net.run_ms(1_000);
        self.mint();
        self.epoch();
        let nodes = network.nodes;
        self.net.plan(&Scenario::new(network, faults.to_ms).faults(faults));
        for node in 0..nodes {
            let upgrade = Step::Upgrade { node, plugin: STAKING, revision: 0 };
            self.net.at(self.random.within(1_000..faults.to_ms), upgrade);
            self.net.at(self.random.within(1_000..faults.to_ms), Step::Crash { node, plugin: DIVIDEND });
        }
        for step in 0..80 {
            self.operate();
            self.net.run_ms(150);
            if step % 20 == 9 {
                let declaration = self.token.declaration(10_000 + step);
                self.submit(0, DIVIDEND, &declaration);
                self.epoch();
            }
        }
        self.net.run_ms(10_000);
        self.epoch();
        self.net.run_ms(15_000);
        for at in 0..4 {
            let claim = self.wallets[at].claim(2);
            self.submit(at as u32, DIVIDEND, &claim);
        }
        self.net.run_ms(10_000);
        for node in 0..nodes {
            self.command(node, STAKING, "status", &json!({}));
            self.command(node, STAKING, "top", &json!({ "limit": 9 }));
            self.command(node, DIVIDEND, "entitlements", &json!({}));
            self.command(node, DIVIDEND, "root", &json!({}));
        }
    }
}

#[test]
fn staking_and_dividend_are_the_same_natively_and_compiled() -> Result<()> {
    let compiled = Compiled::new()?;
    let config = Token::new("Same")?.settings(&[])?.config;
    let staking = pair::<Staking<weir_plugin_staking::First>>(&compiled, "staking-1.0", &[], &config)?;
    let next = pair::<Staking<weir_plugin_staking::Second>>(&compiled, "staking-1.1", &[], &config)?;
    let dividend = pair::<Dividend>(&compiled, "dividend-1.0", &["call:staking"], &config)?;
    let mut seen = Seen::default();
    for seed in seeds() {
        let network = Network { seed, nodes: 6, clock_skew_ms: 50, ..Network::default() };
        let plugins = [staking.clone(), dividend.clone()];
        let net = both(&network, &plugins, std::slice::from_ref(&next), |net| {
            let token = Token::new("Same").expect("a name");
            let wallets = token.wallets(12);
            let mut ledgers = Ledgers { net, token, wallets, random: Random::new(seed) };
            ledgers.play(&faults(6, 12_000), network.clone());
        })
        .with_context(|| format!("seed {seed}"))?;
        seen.add(&net);
        tell("staking and dividend", seed, &net);
    }
    seen.check(&["send", "message", "request", "response", "call", "called", "put", "remove", "crash", "answer"])
}

#[test]
fn a_difference_is_shown_with_both_sides() -> Result<()> {
    let compiled = Compiled::new()?;
    let old = pair::<Ping<First>>(&compiled, "ping-0.1", &[], &Value::Null)?;
    let other = Pair { native: Rc::new(Native::<Ping<Second>>::default()), ..old };
    let Err(error) = both(&network(1, 2), &[other], &[], |net| net.run_ms(10)) else {
        anyhow::bail!("two versions are not the same");
    };
    let text = error.to_string();
    for part in ["entry 0", "n00.0 start \"0.2.0 boot\"", "n00.0 start \"0.1.0 boot\""] {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    Ok(())
}
