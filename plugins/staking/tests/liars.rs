//! Liars among the nodes: they speak the protocol's own messages, and everybody else agrees all the same.

mod net;

use std::collections::BTreeSet;
use std::rc::Rc;

use net::genesis;
use net::world::{World, file};
use weir_ledger::Id;
use weir_plugin_staking::items::Action;
use weir_plugin_staking::{First, PROTOCOL, PROTOCOL_ID, Staking, Summary};
use weir_sdk::abi::Verdict;
use weir_sdk::gossip::ItemId;
use weir_sdk::prelude::*;
use weir_sdk::testing::{Native, Network, Step, TestNet};

const HONEST: u32 = 6;
const NODES: u32 = 10;

/// Keeps every operation that it hears of, and does one thing to everybody ten times a second.
struct Liar {
    how: String,
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
        Ok(Self { how: init.config()?, peers: Vec::new(), heard: BTreeSet::new(), summary: None })
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
            ("old", _) => {
                let items: Vec<_> = self.heard.iter().take(100).map(|item| (0_u8, item)).collect();
                let push = [&[1, 0], &weir_sdk::encode(&items)?[..]].concat();
                vec![push; 3]
            }
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
        net.install_on(node, Rc::new(Native::<Liar>::default()), format!("{how:?}"));
    }
    net.full_mesh();
    let mut world = World::on(net, seed, 10);
    world.settle_on(HONEST, 30_000);
    let away: Vec<_> = (0..NODES).filter(|node| *node != 5).collect();
    world.net.step(Step::Partition(vec![away, vec![5]]));
    for round in 0..20 {
        if round == 10 {
            world.net.step(Step::Heal);
        }
        for who in 0..10 {
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
    let root = world.net.command(5, "root", &serde_json::json!({})).expect("a root");
    assert_eq!((&root["epoch"], &root["operations"]), (&22.into(), &(10 + 1 + 200 + 21).into()), "{how}");
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
fn who_floods_is_reported_and_nobody_else_is() {
    for (how, verdict) in [("old", Verdict::Abusive), ("noise", Verdict::Invalid)] {
        let world = agree_among(how);
        let liars: Vec<_> = (HONEST..NODES).map(|node| world.net.id(node)).collect();
        for node in 0..HONEST {
            let reports = world.net.reports(node);
            assert!(reports.iter().all(|report| liars.contains(&report.0)), "{how}: {reports:?}");
            let reported = |liar: &PeerId| reports.iter().any(|report| report.0 == *liar && report.2 == verdict);
            assert!(liars.iter().all(reported), "{how}: node {node} noticed nothing");
        }
        assert_eq!(world.net.totals().crashes, 0);
    }
}
