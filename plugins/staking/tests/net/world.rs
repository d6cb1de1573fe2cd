//! The plugin on many nodes in virtual time, with an issuer and wallets beside them.

use serde_json::{Value, json};
use weir_ledger::{Genesis, from_hex, to_hex};
use weir_plugin_staking::items::{Action, Body, Decree};
use weir_plugin_staking::{First, Staking};
use weir_sdk::gossip::Stats;
use weir_sdk::testing::{Network, Random, TestNet, Ticket};

use super::{Issuer, Wallet, genesis};

/// What it takes to live through it.
pub struct World {
    pub net: TestNet,
    pub issuer: Issuer,
    pub wallets: Vec<Wallet>,
    pub random: Random,
    pub taken: u64,
}

/// The configuration that a genesis is.
pub fn file(genesis: &Genesis) -> Value {
    serde_json::to_value(genesis.file()).expect("json")
}

impl World {
    /// Nodes in a mesh, and accounts with a million each.
    pub fn new(seed: u64, nodes: u32, accounts: u64) -> Self {
        let mut net = TestNet::new(Network { seed, nodes, ..Network::default() });
        net.install::<Staking<First>>(file(&genesis()));
        net.random_mesh(6.min(nodes - 1));
        Self::on(net, seed, accounts)
    }

    /// The same on nodes that a test has made; the first one must run the plugin.
    pub fn on(mut net: TestNet, seed: u64, accounts: u64) -> Self {
        let genesis = genesis();
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

    pub fn submit(&mut self, node: u32, bytes: &[u8]) -> Result<Value, weir_sdk::abi::Failure> {
        self.net.command(node, "submit", &json!({ "op": to_hex(bytes) }))
    }

    /// As the wallet does it: the node collects, the issuer signs.
    pub fn epoch(&mut self) {
        let draft = self.net.command(0, "draft", &json!({})).expect("a draft");
        let body = from_hex(draft["body"].as_str().expect("hex"), 1 << 20).expect("hex");
        let decree = Decree::read(&mut weir_ledger::codec::Reader::new(&body)).expect("a decree");
        assert_eq!((decree.seq, decree.before), (self.issuer.seq, self.issuer.before));
        let signed = self.issuer.sign(decree.order);
        self.submit(0, &signed).expect("an epoch");
    }

    /// One operation somewhere; its wallet remembers it and hands it in again until somebody took it.
    pub fn operate(&mut self) {
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

    /// Everybody's root, where the plugin runs.
    fn roots(net: &TestNet, nodes: u32) -> Vec<String> {
        let root = |node| net.plugin::<Staking<First>, _>(node, |staking| staking.ledger().root().to_string());
        (0..nodes).map(root).collect()
    }

    /// Waits until the first so many nodes have one root. Returns how long it took, in milliseconds.
    pub fn settle_on(&mut self, nodes: u32, most_ms: u64) -> u64 {
        let begun = self.net.now_ms();
        let equal = self.net.run_until(most_ms, |net| {
            (0..nodes).all(|node| net.is_up(node)) && Self::roots(net, nodes).windows(2).all(|pair| pair[0] == pair[1])
        });
        assert!(equal, "after {} ms: {:?}", self.net.now_ms(), Self::roots(&self.net, nodes));
        self.net.now_ms() - begun
    }

    /// The same for all.
    pub fn settle(&mut self, most_ms: u64) -> u64 {
        self.settle_on(self.net.nodes().end, most_ms)
    }

    /// Hands in many items at once; they have to be taken.
    pub fn submit_all(&mut self, node: u32, items: &[Vec<u8>]) {
        let submit = |item: &Vec<u8>| self.net.submit(node, "submit", &json!({ "op": to_hex(item) }));
        let tickets: Vec<Ticket> = items.iter().map(submit).collect();
        let last = *tickets.last().expect("something to hand in");
        let mut answers = std::collections::BTreeMap::new();
        let answered = self
            .net
            .run_until(30_000, |net| net.answer(last).is_some_and(|answer| answers.insert(last, answer).is_none()));
        assert!(answered, "the last one is answered");
        for ticket in tickets {
            let answer = answers.remove(&ticket).or_else(|| self.net.answer(ticket));
            answer.expect("an answer").expect("it is taken");
        }
    }

    /// Items that came to all nodes, wanted or not, and those of them that were accepted, since their instances began.
    pub fn copies(&self) -> (u64, u64) {
        let stats = |node| self.net.plugin::<Staking<First>, _>(node, Staking::gossip_stats);
        let nodes = self.net.nodes().map(stats);
        nodes.fold((0, 0), |(received, accepted), it: Stats| (received + it.received, accepted + it.accepted))
    }
}
