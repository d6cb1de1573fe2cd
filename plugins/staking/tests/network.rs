//! The plugin on many nodes in virtual time: breaks, partitions, kills and crashes, and equal roots at the end.

mod net;

use net::{Issuer, Wallet};
use serde_json::{Value, json};
use weir_ledger::{Genesis, from_hex, to_hex};
use weir_plugin_staking::items::{Action, Body, Decree};
use weir_plugin_staking::{First, Second, Staking};
use weir_sdk::testing::{Faults, Network, Random, Scenario, Step, TestNet};

struct World {
    net: TestNet,
    issuer: Issuer,
    wallets: Vec<Wallet>,
    random: Random,
    taken: u64,
}

fn file(genesis: &Genesis) -> Value {
    serde_json::to_value(genesis.file()).expect("json")
}

impl World {
    fn new(seed: u64, nodes: u32, accounts: u64) -> Self {
        let genesis = net::genesis();
        let mut net = TestNet::new(Network { seed, nodes, ..Network::default() });
        net.install::<Staking<First>>(file(&genesis));
        net.random_mesh(6.min(nodes - 1));
        net.run_ms(1_000);
        let wallets = (0..accounts).map(|name| Wallet::new(100 + name, &genesis)).collect();
        let mut world = Self { net, issuer: Issuer::new(&genesis), wallets, random: Random::new(seed), taken: 0 };
        for who in 0..world.wallets.len() {
            let mint = world.issuer.mint(world.wallets[who].key(), 1_000_000);
            world.submit(0, &mint).expect("a mint");
        }
        world.epoch();
        world
    }

    fn submit(&mut self, node: u32, bytes: &[u8]) -> Result<Value, weir_sdk::abi::Failure> {
        self.net.command(node, "submit", &json!({ "op": to_hex(bytes) }))
    }

    /// As the wallet does it: the node collects, the issuer signs.
    fn epoch(&mut self) {
        let draft = self.net.command(0, "draft", &json!({})).expect("a draft");
        let body = from_hex(draft["body"].as_str().expect("hex"), 1 << 20).expect("hex");
        let decree = Decree::read(&mut weir_ledger::codec::Reader::new(&body)).expect("a decree");
        assert_eq!((decree.seq, decree.before), (self.issuer.seq, self.issuer.before));
        let signed = self.issuer.sign(decree.order);
        self.submit(0, &signed).expect("an epoch");
    }

    /// One operation somewhere; its wallet remembers it and hands it in again until somebody took it.
    fn operate(&mut self) {
        let who = self.random.within(0..self.wallets.len() as u64) as usize;
        let amount = 1 + u128::from(self.random.within(0..1_000));
        let action = if self.random.chance(70) { Action::Stake(amount) } else { Action::Unstake(amount) };
        let nodes = u64::from(self.net.nodes().end);
        let signed = self.wallets[who].clone().sign(action);
        let at = self.random.within(0..nodes) as u32;
        if self.net.is_up(at) && self.submit(at, &signed).is_ok() {
            self.wallets[who].sign(action);
            self.taken += 1;
        }
    }

    fn roots(&mut self) -> Vec<(u64, String)> {
        let nodes = self.net.nodes();
        let root = |node| {
            self.net.plugin::<Staking<First>, _>(node, |staking| {
                (staking.ledger().meta().closed.epoch, staking.ledger().root().to_string())
            })
        };
        nodes.map(root).collect()
    }

    fn settle(&mut self, most_ms: u64) {
        let equal = self.net.run_until(most_ms, |net| {
            let root = |node| net.plugin::<Staking<First>, _>(node, |staking| staking.ledger().root());
            net.nodes().all(|node| net.is_up(node)) && net.nodes().all(|node| root(node) == root(0))
        });
        assert!(equal, "after {} ms: {:?}", self.net.now_ms(), self.roots());
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn twenty_nodes_agree_after_breaks_partitions_kills_and_crashes() {
    for seed in 1..=number("WEIR_SEEDS", 2) {
        let (nodes, operations) = (number("WEIR_NODES", 20) as u32, number("WEIR_OPERATIONS", 500));
        let mut world = World::new(seed, nodes, 25);
        let faults = Faults {
            from_ms: 0,
            to_ms: 20_000,
            breaks: nodes * 2,
            crashes: nodes,
            kills: nodes / 4,
            partitions: 3,
            spared: 1,
        };
        let network = Network { seed, nodes, ..Network::default() };
        world.net.plan(&Scenario::new(network, 20_000).faults(&faults));
        for step in 0..operations {
            world.operate();
            world.net.run_ms(20_000 / operations / 2);
            if step % (operations / 8) == operations / 8 - 1 {
                world.epoch();
            }
        }
        world.net.run_ms(25_000);
        world.settle(120_000);
        // Everything taken by a node that lived is in, one epoch or two later.
        world.net.run_ms(60_000);
        world.epoch();
        world.settle(60_000);
        let root = world.net.command(nodes - 1, "root", &json!({})).expect("a root");
        let status = world.net.command(nodes - 1, "status", &json!({})).expect("a status");
        assert_eq!(status["pending"], 0, "seed {seed}: {status}");
        let totals = world.net.totals();
        eprintln!(
            "seed {seed}: {nodes} nodes, {} operations taken, {} in the state at epoch {}, {} messages, {} asks, {} virtual s",
            world.taken,
            root["operations"],
            root["epoch"],
            totals.sent,
            totals.asks,
            world.net.now_ms() / 1_000 % 1_000_000,
        );
    }
}

#[test]
fn an_upgrade_in_the_middle_puts_the_accounts_in_order() {
    let mut world = World::new(5, 5, 30);
    let second = world.net.revision::<Staking<Second>>();
    for _ in 0..30 {
        world.operate();
    }
    world.epoch();
    world.settle(30_000);
    assert_eq!(world.net.command(1, "top", &json!({})).expect_err("not in 1.0").code, "unknown-command");
    world.net.step(Step::Upgrade { node: 1, plugin: 0, revision: second });
    for _ in 0..30 {
        world.operate();
    }
    world.net.run_ms(2_000);
    world.epoch();
    world.net.run_ms(5_000);
    let top = world.net.command(1, "top", &json!({ "limit": 3 })).expect("the top");
    let first = &top["accounts"][0];
    let account = world.net.command(2, "account", &json!({ "account": first["account"] })).expect("an account");
    assert_eq!((&account["staked"], top["epoch"].as_u64()), (&first["staked"], account["epoch"].as_u64()));
}

#[test]
fn a_node_that_was_away_gets_everything_from_one_peer() {
    let genesis = net::genesis();
    let mut world = World::new(9, 3, 100);
    world.net.step(Step::Kill { node: 2, lose_ms: 0 });
    for _ in 0..10 {
        for _ in 0..100 {
            let who = world.random.within(0..100) as usize;
            let signed = world.wallets[who].sign(Action::Stake(1));
            world.submit(0, &signed).expect("an operation");
        }
        world.epoch();
    }
    world.net.step(Step::Boot(2));
    let from = world.net.now_ms();
    world.settle(60_000);
    eprintln!("1,000 operations in ten epochs, caught up in {} virtual ms", world.net.now_ms() - from);
    assert_eq!(genesis.hash().to_string().len(), 64);
}
