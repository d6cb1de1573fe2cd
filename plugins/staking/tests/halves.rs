//! Parts of a network that hear another story each, through gossip. An account that signs twice: proofs spread when the parts
//! meet, an epoch freezes the account on every node, and nothing of it is pending anywhere. An issuer that does: everybody
//! goes back and waits for the recovery key. A log with a gap: it waits.

mod net;

use net::world::{World, file};
use net::{Wallet, genesis};
use serde_json::{Value, json};
use weir_ledger::codec::Reader;
use weir_ledger::{Body, from_hex};
use weir_plugin_staking::items::{Action, Decree};
use weir_plugin_staking::{First, Staking};
use weir_sdk::testing::{Network, Step, TestNet};

const NODES: u32 = 9;
/// The issuer's half, the other one, and a node by itself.
const PARTS: [&[u32]; 3] = [&[0, 1, 2, 3], &[4, 5, 6, 7], &[8]];

/// A full mesh that has parted, with three accounts.
fn parted(seed: u64) -> World {
    let mut net = TestNet::new(Network { seed, nodes: NODES, ..Network::default() });
    net.install::<Staking<First>>(file(&genesis()));
    net.full_mesh();
    let mut world = World::on(net, seed, 3);
    world.settle(30_000);
    world.net.step(Step::Partition(PARTS.map(<[u32]>::to_vec).to_vec()));
    world
}

fn account(world: &mut World, node: u32, of: &Wallet) -> Value {
    world.net.command(node, "account", &json!({ "account": of.key() })).expect("an account")
}

/// Signs and hands in.
fn act(world: &mut World, node: u32, wallet: &mut Wallet, action: Action) {
    let signed = wallet.sign(action);
    world.submit(node, &signed).expect("an operation");
}

/// Every part hears two operations of a branch of its own, and goes on with the others' accounts. Returns who signed the
/// branches.
fn told_differently(world: &mut World) -> [Wallet; 3] {
    let mut branches = [0; 3].map(|_| world.wallets[0].clone());
    for (branch, amount) in branches.iter_mut().zip([10, 20, 30]) {
        let node = PARTS[amount as usize / 10 - 1][0];
        act(world, node, branch, Action::Stake(amount));
        act(world, node, branch, Action::Stake(1));
    }
    for (who, node) in [(1, 2), (2, 6)] {
        let mut wallet = world.wallets[who].clone();
        act(world, node, &mut wallet, Action::Stake(5));
    }
    world.net.run_ms(5_000);
    for node in 0..NODES {
        let told = account(world, node, &branches[0]);
        assert_eq!((&told["pending"], &told["equivocated"]), (&2.into(), &false.into()), "node {node}");
    }
    branches
}

/// The halves meet, the proof spreads, an epoch applies it while one node is still away and hears more of its branch.
fn meet(world: &mut World, branches: &mut [Wallet; 3], staked: &str) {
    world.net.step(Step::Heal);
    world.net.step(Step::Partition(vec![[PARTS[0], PARTS[1]].concat(), PARTS[2].to_vec()]));
    world.net.run_ms(60_000);
    for node in 0..8 {
        let told = account(world, node, &branches[0]);
        assert_eq!((&told["equivocated"], &told["frozen"]), (&true.into(), &false.into()), "node {node}");
    }
    world.epoch();
    world.settle_on(8, 30_000);
    act(world, 8, &mut branches[2], Action::Stake(2));
    world.net.step(Step::Heal);
    frozen(world, &branches[0], staked);
}

/// On every node the account is frozen with this stake, and nothing is left of what it had pending; nobody is blamed.
fn frozen(world: &mut World, liar: &Wallet, staked: &str) {
    world.settle(60_000);
    // Long enough for sets to be compared again.
    world.net.run_ms(60_000);
    let first = account(world, 0, liar);
    for node in 0..NODES {
        let told = account(world, node, liar);
        assert_eq!(told, first, "node {node}");
        assert_eq!((&told["frozen"], &told["staked"], &told["pending"]), (&true.into(), &staked.into(), &0.into()));
        let proofs = world.net.command(node, "proofs", &json!({})).expect("proofs");
        assert_eq!(proofs["accounts"][0]["applied"], first["frozen_since"], "node {node}");
        let reconciled = world.net.plugin::<Staking<First>, _>(node, Staking::reconciled);
        assert_eq!(reconciled, 0, "node {node} compares nothing any more");
        assert_eq!(world.net.reports(node), [], "node {node}: who sent a branch did not know");
        let signed = liar.clone().sign(Action::Stake(1));
        assert_eq!(world.submit(node, &signed).expect_err("frozen").code, "equivocated");
    }
    assert_eq!(world.net.totals().crashes, 0);
}

#[test]
fn two_halves_hear_different_operations_before_an_epoch_names_one() {
    let mut world = parted(71);
    let mut branches = told_differently(&mut world);
    meet(&mut world, &mut branches, "0");
    for who in [1, 2] {
        let other = world.wallets[who].clone();
        assert_eq!(account(&mut world, 8, &other)["staked"], "5", "the others went on");
    }
}

#[test]
fn two_halves_hear_different_operations_and_the_one_that_an_epoch_named_counts() {
    let mut world = parted(72);
    let mut branches = told_differently(&mut world);
    world.epoch();
    world.settle_on(4, 30_000);
    for node in 0..4 {
        assert_eq!(account(&mut world, node, &branches[0])["staked"], "11", "node {node}");
    }
    // And more behind it, which no epoch names.
    act(&mut world, 3, &mut branches[0], Action::Stake(1));
    meet(&mut world, &mut branches, "11");
}

#[test]
fn a_gap_in_numbers_waits_until_the_halves_meet() {
    let mut world = parted(74);
    let mut wallet = world.wallets[1].clone();
    let operations: Vec<_> = [1, 2, 4, 8].map(|amount| wallet.sign(Action::Stake(amount))).to_vec();
    // Only the other half has the second one.
    for (node, place) in [(1, 3), (2, 0), (3, 2), (5, 1)] {
        world.submit(node, &operations[place]).expect("an operation");
    }
    world.net.run_ms(5_000);
    world.epoch();
    world.settle_on(4, 30_000);
    for node in 0..4 {
        let told = account(&mut world, node, &wallet);
        assert_eq!((&told["staked"], &told["pending"], &told["next_seq"]), (&"1".into(), &2.into(), &1.into()));
    }
    world.net.step(Step::Heal);
    world.settle(60_000);
    world.net.run_ms(60_000);
    world.epoch();
    world.settle(30_000);
    for node in 0..NODES {
        let told = account(&mut world, node, &wallet);
        assert_eq!((&told["staked"], &told["pending"], &told["next_seq"]), (&"15".into(), &0.into(), &4.into()));
        assert_eq!(world.net.reports(node), [], "node {node}");
    }
}

#[test]
fn an_issuer_that_shows_each_half_another_log_is_replaced() {
    let mut world = parted(75);
    let mut twin = world.issuer.clone();
    let mut wallet = world.wallets[1].clone();
    act(&mut world, 1, &mut wallet, Action::Stake(3));
    world.epoch();
    world.settle_on(4, 30_000);
    // The other half sees a mint more, and an epoch behind it that its own node drafts.
    let mint = twin.mint(world.wallets[2].key(), 77);
    world.submit(4, &mint).expect("a mint");
    let draft = world.net.command(4, "draft", &json!({})).expect("a draft");
    let body = from_hex(draft["body"].as_str().expect("hex"), 1 << 20).expect("hex");
    let header = twin.sign(Decree::read(&mut Reader::new(&body)).expect("a decree").order);
    world.submit(4, &header).expect("an epoch");
    world.net.run_ms(5_000);
    let epoch = |world: &mut World, node| world.net.command(node, "root", &json!({})).expect("a root");
    let (one, other) = (epoch(&mut world, 3), epoch(&mut world, 7));
    assert!(one["epoch"] == 2 && other["epoch"] == 2 && one["root"] != other["root"]);
    world.net.step(Step::Heal);
    let torn = |net: &mut TestNet| {
        (0..NODES)
            .all(|node| net.command(node, "status", &json!({})).is_ok_and(|status| status["state"] == "issuer-fault"))
    };
    assert!(world.net.run_until(60_000, torn), "everybody has seen both logs and gone back");
    assert!((0..NODES).all(|node| epoch(&mut world, node)["epoch"] == 1));
    assert_eq!(world.net.command(0, "draft", &json!({})).expect_err("no epoch now").code, "issuer-fault");
    let tip = world.net.plugin::<Staking<First>, _>(8, |staking| staking.ledger().meta().tip);
    let (rotate, successor) = net::rotation(&genesis(), 1, tip.seq, tip.before, net::SECOND_ISSUER);
    world.submit(8, &rotate).expect("a rotation");
    world.issuer = successor;
    world.net.run_ms(60_000);
    world.epoch();
    world.settle(30_000);
    for node in 0..NODES {
        assert_eq!(account(&mut world, node, &wallet)["staked"], "3", "node {node}: what was included is again");
        let status = world.net.command(node, "status", &json!({})).expect("a status");
        assert_eq!((&status["state"], &status["epoch"]), (&"up-to-date".into(), &2.into()), "node {node}");
    }
}

#[test]
fn going_back_behind_the_epoch_that_froze_an_account_freezes_it_again() {
    let mut world = parted(73);
    let mut branches = told_differently(&mut world);
    let mut twin = world.issuer.clone();
    meet(&mut world, &mut branches, "0");
    // The issuer's second decree with that number takes every node back; the proof waits for the next issuer.
    let other = twin.mint(world.wallets[1].key(), 1);
    world.submit(5, &other).expect("a decree");
    world.settle(30_000);
    world.net.run_ms(60_000);
    for node in 0..NODES {
        let told = account(&mut world, node, &branches[0]);
        assert_eq!((&told["frozen"], &told["equivocated"], &told["pending"]), (&false.into(), &true.into(), &0.into()));
    }
    let status = world.net.command(0, "status", &json!({})).expect("a status");
    assert_eq!(status["state"], "issuer-fault", "{status}");
    let tip = world.net.plugin::<Staking<First>, _>(0, |staking| staking.ledger().meta().tip);
    let (rotate, successor) = net::rotation(&genesis(), 1, tip.seq, tip.before, net::SECOND_ISSUER);
    world.submit(0, &rotate).expect("a rotation");
    world.issuer = successor;
    world.settle(30_000);
    world.epoch();
    frozen(&mut world, &branches[0], "0");
}
