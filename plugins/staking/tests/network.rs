//! The plugin on many nodes in virtual time: breaks, partitions, kills and crashes, and equal roots at the end.
//!
//! The long forms: `cargo test --release -p weir-plugin-staking --test network -- --ignored --nocapture`.

mod net;

use std::time::Instant;

use net::world::{World, file};
use net::{Wallet, genesis};
use serde_json::json;
use weir_plugin_staking::items::{Action, Order};
use weir_plugin_staking::{First, Second, Staking};
use weir_sdk::testing::{Faults, Network, Scenario, Step, TestNet};

/// Operations at random nodes while connections break, halves part and nodes die, all of it the more the more operations
/// there are; everybody has one root at the end, and nothing that was taken is lost.
fn live_through(seed: u64, nodes: u32, operations: u64) {
    let began = Instant::now();
    let mut world = World::new(seed, nodes, operations / 20);
    let (times, to_ms) = ((operations / 500) as u32, operations * 40);
    let faults = Faults {
        from_ms: 0,
        to_ms,
        breaks: nodes * 2 * times,
        crashes: nodes * times,
        kills: nodes / 4 * times,
        partitions: 3 * times,
        spared: 1,
    };
    let network = Network { seed, nodes, ..Network::default() };
    let over_ms = world.net.now_ms() + to_ms;
    world.net.plan(&Scenario::new(network, to_ms).faults(&faults));
    let each = operations.min(2_000) / 8;
    for step in 0..operations {
        world.operate();
        world.net.run_ms(20);
        if step % each == each - 1 {
            world.epoch();
        }
    }
    world.net.run_ms((over_ms + 1).saturating_sub(world.net.now_ms()));
    let healed_ms = world.settle(145_000);
    // Everything taken by a node that lived is in, one epoch or two later.
    world.net.run_ms(60_000);
    world.epoch();
    world.settle(60_000);
    let root = world.net.command(nodes - 1, "root", &json!({})).expect("a root");
    let status = world.net.command(nodes - 1, "status", &json!({})).expect("a status");
    assert_eq!(status["pending"], 0, "seed {seed}: {status}");
    let (totals, (received, accepted)) = (world.net.totals(), world.copies());
    eprintln!(
        "seed {seed}: {nodes} nodes, {} of {operations} operations taken, {} in the state at epoch {}, equal {healed_ms} virtual ms \
         after the last fault, {:.2} copies each, {} messages, {} asks; {:.1} s",
        world.taken,
        root["operations"],
        root["epoch"],
        received as f64 / accepted.max(1) as f64,
        totals.sent,
        totals.asks,
        began.elapsed().as_secs_f64(),
    );
}

#[test]
fn twenty_nodes_agree_after_breaks_partitions_kills_and_crashes() {
    (1..=2).for_each(|seed| live_through(seed, 20, 500));
}

#[test]
#[ignore = "long: a thousand times what the test without `ignore` does twice"]
fn a_thousand_seeds_of_twenty_nodes_and_500_operations() {
    (1..=1_000).for_each(|seed| live_through(seed, 20, 500));
}

#[test]
#[ignore = "long: ten seeds with a million deliveries each"]
fn ten_seeds_of_a_hundred_nodes_and_10_000_operations() {
    (1..=10).for_each(|seed| live_through(seed, 100, 10_000));
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
fn what_is_pending_again_after_going_back_reaches_who_never_had_it() {
    let mut world = World::new(7, 3, 3);
    world.settle(30_000);
    world.net.step(Step::Kill { node: 2, lose_ms: 0 });
    let operation = world.wallets[0].sign(Action::Stake(5));
    world.submit(0, &operation).expect("an operation");
    world.net.run_ms(2_000);
    let mut twin = world.issuer.clone();
    world.epoch();
    world.settle_on(2, 30_000);
    // The issuer's second decree with one number takes the epoch back that had included the operation.
    let decree = twin.sign(Order::Mint { to: world.wallets[1].key(), amount: 1 });
    world.submit(1, &decree).expect("a decree");
    world.net.run_ms(5_000);
    let account = json!({ "account": world.wallets[0].key() });
    let pending = |world: &mut World, node| {
        let answer = world.net.command(node, "account", &account).expect("an account");
        (answer["staked"].clone(), answer["pending"].clone())
    };
    assert_eq!([0, 1].map(|node| pending(&mut world, node)), [("0".into(), 1.into()), ("0".into(), 1.into())]);
    world.net.step(Step::Boot(2));
    world.net.run_ms(60_000);
    assert_eq!(pending(&mut world, 2), ("0".into(), 1.into()), "nobody names it, so only reconciling brings it");
}

#[test]
fn a_restart_reconciles_what_was_reconciled_before_it() {
    let seed = 13;
    let mut net = TestNet::new(Network { seed, nodes: 1, ..Network::default() });
    net.install::<Staking<First>>(file(&genesis()));
    let mut world = World::on(net, seed, 1_005);
    world.wallets.sort_by_key(Wallet::key);
    let twice = |wallets: &[Wallet]| -> Vec<_> {
        let both = |wallet: &Wallet| [1, 2].map(|amount| wallet.clone().sign(Action::Stake(amount)));
        wallets.iter().flat_map(both).collect()
    };
    // An epoch applies as many proofs as are read at once, and behind them there are open ones.
    twice(&world.wallets[..1_000]).chunks(500).for_each(|items| world.submit_all(0, items));
    world.epoch();
    world.net.run_ms(10_000);
    let reconciled = |world: &World| world.net.plugin::<Staking<First>, _>(0, Staking::reconciled);
    assert_eq!(reconciled(&world), 0, "the operations that came first went with their accounts");
    world.submit_all(0, &twice(&world.wallets[1_000..]));
    world.net.run_ms(1_000);
    assert_eq!(reconciled(&world), 5 + 5, "five proofs as well");
    world.net.step(Step::Kill { node: 0, lose_ms: 0 });
    world.net.step(Step::Boot(0));
    world.net.run_ms(100);
    assert_eq!(reconciled(&world), 5 + 5);
}

/// A node is away while so many operations of so many accounts go into so many epochs, and comes back.
fn away(accounts: u64, each: u64, epochs: u64) {
    let mut world = World::new(9, 3, accounts);
    world.settle(60_000);
    world.net.step(Step::Kill { node: 2, lose_ms: 0 });
    for _ in 0..epochs {
        for _ in 0..each {
            let items: Vec<_> = world.wallets.iter_mut().map(|wallet| wallet.sign(Action::Stake(1))).collect();
            items.chunks(500).for_each(|items| world.submit_all(0, items));
        }
        world.epoch();
    }
    world.settle_on(2, 300_000);
    let (count, before, began) = (accounts * each * epochs, world.net.totals(), Instant::now());
    world.net.step(Step::Boot(2));
    let took_ms = world.settle(300_000);
    let root = world.net.command(2, "root", &json!({})).expect("a root");
    assert_eq!(root["operations"], accounts + 1 + count + epochs);
    let after = world.net.totals();
    let (asks, bytes) = (after.asks - before.asks, after.ask_bytes - before.ask_bytes);
    eprintln!(
        "{count} operations in {epochs} epochs, caught up in {took_ms} virtual ms and {:.1} s: {asks} asks, {} bytes an operation",
        began.elapsed().as_secs_f64(),
        bytes / count,
    );
    // An operation has 154 bytes, and an epoch's page 72 for each account. Everything is asked for once, in few and large
    // answers; no turn is larger than a turn may be, or the instance would have been thrown away.
    assert!(bytes < 400 * count + 100_000, "{bytes} bytes");
    assert!(asks < count / 100 + 300, "{asks} asks");
    assert_eq!(after.crashes, 0);
    assert!(took_ms < 10_000 + count, "{took_ms} ms");
}

#[test]
fn a_node_that_was_away_gets_everything_by_height_and_by_name() {
    away(100, 1, 10);
}

#[test]
#[ignore = "long: a hundred thousand operations are signed, gossiped and folded first"]
fn a_node_that_was_away_for_a_hundred_thousand_operations() {
    away(2_000, 10, 5);
}
