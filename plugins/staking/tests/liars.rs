//! Liars among the nodes: they speak the protocol's own messages, and everybody else agrees all the same.

mod net;

use std::collections::BTreeSet;
use std::rc::Rc;

use net::world::{World, file};
use net::{Wallet, genesis, genesis_named};
use serde_json::json;
use weir_ledger::Id;
use weir_plugin_staking::items::Action;
use weir_plugin_staking::{First, PROTOCOL, PROTOCOL_ID, Staking, Summary};
use weir_sdk::abi::Verdict;
use weir_sdk::gossip::ItemId;
use weir_sdk::prelude::*;
use weir_sdk::testing::{Native, Network, Step, TestNet};

const HONEST: u32 = 6;
const NODES: u32 = 10;
/// Accounts whose operations count. Each liar has one besides.
const ACCOUNTS: u64 = 10;
/// Operations that each of the useless liars signs.
const OVERDRAFTS: u64 = 10;

/// Keeps every operation that it hears of, and does one thing to everybody ten times a second.
struct Liar {
    how: String,
    /// Operations of its account, which has a million, and the same account in another network.
    overdrafts: Vec<Vec<u8>>,
    elsewhere: Wallet,
    turn: usize,
    peers: Vec<PeerId>,
    heard: BTreeSet<Vec<u8>>,
    summary: Option<Summary>,
}

impl Plugin for Liar {
    fn manifest() -> Manifest {
        Manifest::new("staking", "1.0.0").protocol(Protocol::new(PROTOCOL, PROTOCOL_ID).max_message(320 * 1024))
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        ctx.set_timer(1, 100)?;
        let (how, name): (String, u64) = init.config()?;
        let mut own = Wallet::new(name, &genesis());
        Ok(Self {
            how,
            overdrafts: (0..OVERDRAFTS).map(|_| own.sign(Action::Stake(2_000_000))).collect(),
            elsewhere: Wallet::new(name, &genesis_named("Elsewhere")),
            turn: 0,
            peers: Vec::new(),
            heard: BTreeSet::new(),
            summary: None,
        })
    }

    fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
        self.peers.push(there.peer);
        // Into the view, so that it hears of everything: gossip's version, then `join` with nobody else.
        Ok(ctx.send_bytes(there.peer, PROTOCOL, &[1, 5, 1])?)
    }

    fn on_message(&mut self, message: Message<'_>, _: &Context) -> Result {
        match message.body {
            [1, 0, items @ ..] => {
                let items: Vec<(u8, Vec<u8>)> = weir_sdk::decode(items)?;
                self.heard.extend(items.into_iter().map(|(_, item)| item));
            }
            [16, summary @ ..] => self.summary = Some(weir_sdk::decode(summary)?),
            _ => {}
        }
        Ok(())
    }

    /// Nothing that it named is ever delivered.
    fn on_request(&mut self, _: Request<'_>, _: &Context) -> Result {
        Ok(())
    }

    fn on_timer(&mut self, _: u64, ctx: &Context) -> Result {
        let random = || Id(std::array::from_fn(|_| ctx.random_number() as u8));
        let bodies: Vec<Vec<u8>> = match (self.how.as_str(), self.summary) {
            // A log that is longer, with another head each time.
            ("longer", Some(theirs)) => vec![summary(Summary { seq: u64::MAX - 9, last: random(), ..theirs })],
            // One of the same length that parts somewhere.
            ("other", Some(theirs)) => vec![summary(Summary { last: random(), ..theirs })],
            // A rotation, and a fault.
            ("rotation", Some(theirs)) => vec![summary(Summary { rotation: Some((u64::MAX - 9, random())), ..theirs })],
            ("fault", Some(theirs)) => vec![summary(Summary { fault: Some(ctx.random_number() % 9), ..theirs })],
            ("have", _) => {
                let ids: Vec<_> = (0..20).map(|_| (0_u8, ItemId(random().0))).collect();
                vec![[&[1, 1], &weir_sdk::encode(&ids)?[..]].concat()]
            }
            ("old", _) => vec![push(&self.heard.iter().take(100).cloned().collect::<Vec<_>>()); 3],
            ("malformed", _) => {
                let item = [&[1 + (ctx.random_number() % 5) as u8], &ctx.random_bytes(150)[..]].concat();
                // One in four is nested as deep as it goes.
                let nested = "{\"op\":".repeat(5_000).into_bytes();
                vec![push(&[if ctx.random_number().is_multiple_of(4) { nested } else { item }])]
            }
            // Larger than an item may be, as a piece of a log and as a page.
            ("large", _) => {
                [(1, 80_000), (3, 300_000)].map(|(kind, len)| push(&[[&[kind], &vec![1; len][..]].concat()])).to_vec()
            }
            ("forged", _) => vec![push(&[self.forged(ctx)])],
            ("foreign", _) => vec![push(&[self.elsewhere.sign(Action::Stake(1))])],
            ("useless", _) => vec![push(&[self.useless()])],
            ("noise", _) => (0..10).map(|_| [&[16], &ctx.random_bytes(90)[..]].concat()).collect(),
            _ => Vec::new(),
        };
        for body in bodies {
            for peer in &self.peers {
                // A lane that is full is as good as one that is not.
                let _ = ctx.send_bytes(*peer, PROTOCOL, &body);
            }
        }
        ctx.set_timer(1, 100)
    }
}

impl Liar {
    /// Somebody's operation with another amount, or one in the name of an account with the signature of none.
    fn forged(&self, ctx: &Context) -> Vec<u8> {
        let operations = self.heard.iter().filter(|item| item.len() == self.overdrafts[0].len() && item[0] == 1);
        let operations: Vec<_> = operations.collect();
        let at = ctx.random_number() as usize;
        let mut forged = match operations.get(at % operations.len().max(1)) {
            Some(operation) => operation.to_vec(),
            None => self.overdrafts[0].clone(),
        };
        // The amount stands in front of the signature.
        let amount = forged.len() - 64 - 8;
        forged[amount..][..8].copy_from_slice(&ctx.random_number().to_be_bytes());
        forged
    }

    /// In order, but without any effect: more than the account has, what everybody knows, and an account without a mint.
    fn useless(&mut self) -> Vec<u8> {
        self.turn += 1;
        let at = self.turn / 3;
        let known = self.heard.iter().nth(at % self.heard.len().max(1));
        match (self.turn % 3, known) {
            (0, Some(known)) => known.clone(),
            (1, _) => Wallet::new(1_000_000 + at as u64, &genesis()).sign(Action::Stake(1)),
            _ => self.overdrafts[at % self.overdrafts.len()].clone(),
        }
    }
}

fn push(items: &[Vec<u8>]) -> Vec<u8> {
    let items: Vec<_> = items.iter().map(|item| (0_u8, item)).collect();
    [&[1, 0], &weir_sdk::encode(&items).expect("bytes")[..]].concat()
}

fn summary(summary: Summary) -> Vec<u8> {
    [&[16], &weir_sdk::encode(&summary).expect("bytes")[..]].concat()
}

/// Six honest nodes and four liars, everybody connected with everybody; one of the honest was away for the first half.
fn agree_among(how: &str) -> World {
    let seed = 61;
    let mut net = TestNet::new(Network { seed, nodes: NODES, ..Network::default() });
    for node in 0..HONEST {
        net.install_on(node, Rc::new(Native::<Staking<First>>::default()), file(&genesis()).to_string());
    }
    for node in HONEST..NODES {
        let name = 100 + ACCOUNTS + u64::from(node - HONEST);
        net.install_on(node, Rc::new(Native::<Liar>::default()), json!([how, name]).to_string());
    }
    net.full_mesh();
    let mut world = World::on(net, seed, ACCOUNTS + u64::from(NODES - HONEST));
    world.settle_on(HONEST, 30_000);
    let away: Vec<_> = (0..NODES).filter(|node| *node != 5).collect();
    world.net.step(Step::Partition(vec![away, vec![5]]));
    for round in 0..20 {
        if round == 10 {
            world.net.step(Step::Heal);
        }
        for who in 0..ACCOUNTS as usize {
            let signed = world.wallets[who].sign(Action::Stake(1));
            world.submit(round % 5, &signed).expect("an operation");
        }
        world.net.run_ms(500);
        world.epoch();
    }
    let took_ms = world.settle_on(HONEST, 60_000);
    // What came to the issuer's node too late for the epoch is in the next one.
    world.net.run_ms(40_000);
    world.epoch();
    world.settle_on(HONEST, 60_000);
    let root = world.net.command(5, "root", &json!({})).expect("a root");
    let overdrafts = if how == "useless" { 4 * OVERDRAFTS } else { 0 };
    assert_eq!((&root["epoch"], &root["operations"]), (&22.into(), &(14 + 1 + 200 + 21 + overdrafts).into()), "{how}");
    for wallet in &world.wallets[ACCOUNTS as usize..] {
        let account = world.net.command(5, "account", &json!({ "account": wallet.key() })).expect("an account");
        assert_eq!((&account["balance"], &account["staked"]), (&"1000000".into(), &"0".into()), "{how}");
    }
    eprintln!("{how}: equal {took_ms} virtual ms after the last epoch");
    world
}

#[test]
fn who_boasts_and_never_delivers_keeps_nobody_back() {
    for how in ["nothing", "longer", "other", "rotation", "fault", "have"] {
        agree_among(how);
    }
}

#[test]
fn who_sends_operations_without_effect_is_not_reported() {
    let world = agree_among("useless");
    for node in 0..HONEST {
        assert_eq!(world.net.reports(node), [], "node {node}");
        let stats = world.net.plugin::<Staking<First>, _>(node, Staking::gossip_stats);
        assert!(stats.ignored > 0 && stats.duplicates > 0, "node {node}: {stats:?}");
    }
    assert_eq!(world.net.totals().crashes, 0);
}

#[test]
fn who_sends_what_is_malformed_forged_or_signed_for_another_network_is_reported_and_nobody_else_is() {
    let why = "its item was rejected";
    blamed(&["malformed", "forged", "foreign"].map(|how| (how, Verdict::Invalid, why)));
}

#[test]
fn who_floods_or_sends_what_is_too_large_is_reported_and_nobody_else_is() {
    let known = "it pushes what is known and what it was asked not to push";
    let large = "its items have a wrong size";
    blamed(&[("large", Verdict::Abusive, large)]);
    blamed(&[("old", Verdict::Abusive, known), ("noise", Verdict::Invalid, "a message that is none")]);
}

/// Every honest node tells its host of every liar, and of nobody else.
fn blamed(hows: &[(&str, Verdict, &str)]) {
    for (how, verdict, why) in hows.iter().copied() {
        let world = agree_among(how);
        let liars: Vec<_> = (HONEST..NODES).map(|node| world.net.id(node)).collect();
        for node in 0..HONEST {
            let reports = world.net.reports(node);
            assert!(reports.iter().all(|report| liars.contains(&report.0)), "{how}: {reports:?}");
            let reported = |liar: &PeerId| {
                reports.iter().any(|report| (report.0, report.2, report.3.as_str()) == (*liar, verdict, why))
            };
            assert!(liars.iter().all(reported), "{how}: node {node} noticed nothing");
        }
        assert_eq!(world.net.totals().crashes, 0);
    }
}
