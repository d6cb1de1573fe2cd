//! Gossip on many nodes: everybody gets everything, whatever happens to the network.
//!
//! The long form: `cargo test --release -p weir-sdk --test gossip -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "figures for people")]

mod common;

use common::{Config, News, count, mesh, numbered, stats};
use serde_json::json;
use weir_sdk::gossip::ItemId;
use weir_sdk::testing::{Faults, LinkSpec, Network, Random, Scenario, Step, TestHost, TestNet, TraceMode};

fn all_have(net: &TestNet, items: usize) -> bool {
    net.nodes().all(|node| net.is_up(node) && count(net, node) >= items)
}

/// Says texts at random nodes and times while things go wrong. Returns those that were answered for.
fn talk(net: &mut TestNet, random: &mut Random, texts: usize, within_ms: u64) -> Vec<String> {
    let mut tickets = Vec::new();
    let nodes = u64::from(net.nodes().end);
    for number in 0..texts {
        let text = format!("text {number} {}", random.number());
        let node = random.within(0..nodes) as u32;
        tickets.push((text.clone(), net.submit(node, "say", &json!(text))));
        net.run_ms(random.within(0..2 * within_ms / texts as u64));
    }
    net.run_ms(1_000);
    tickets.into_iter().filter(|(_, ticket)| matches!(net.answer(*ticket), Some(Ok(_)))).map(|(text, _)| text).collect()
}

#[test]
fn everybody_gets_everything_under_churn_partitions_and_loss() {
    live_through(50);
}

#[test]
#[ignore = "long: a thousand seeds instead of fifty"]
fn everybody_gets_everything_a_thousand_times() {
    live_through(1_000);
}

fn live_through(seeds: u64) {
    let (mut copies, mut worst_ms, mut longest) = (0.0, 0, 0);
    for seed in 1..=seeds {
        let mut random = Random::new(seed);
        let nodes = 20 + random.within(0..81) as u32;
        let network = Network { seed, nodes, ..Network::default() };
        let faults = Faults {
            from_ms: 2_000,
            to_ms: 20_000,
            breaks: nodes,
            crashes: nodes / 5,
            kills: nodes / 5,
            partitions: 2,
            spared: 0,
        };
        let scenario = Scenario::new(network.clone(), 0).random_mesh(6).faults(&faults);
        let mut net = TestNet::new(network);
        net.install::<News>(Config::default());
        net.plan(&scenario);
        net.run_ms(2_000);
        let texts = talk(&mut net, &mut random, 30, 18_000);
        net.run_ms(20_001_u64.saturating_sub(net.now_ms()));
        let healed = net.now_ms();
        assert!(texts.len() > 15, "seed {seed}: only {} texts were said", texts.len());
        let has_all = |net: &mut TestNet| {
            net.nodes().all(|node| {
                let knows = |news: &News| texts.iter().all(|text| news.gossip.knows(&ItemId::of(text.as_bytes())));
                net.plugin::<News, _>(node, knows)
            })
        };
        assert!(net.run_until(180_000, has_all), "seed {seed}: not everybody has everything");
        let took = net.now_ms() - healed;
        worst_ms = worst_ms.max(took);
        longest += u64::from(took > 10_000);
        // What was said and not answered for may be lost, but all agree.
        assert!(net.run_until(180_000, |net| {
            let most = net.nodes().map(|node| count(net, node)).max().unwrap_or(0);
            all_have(net, most)
        }));
        let (received, accepted) = net
            .nodes()
            .map(|node| stats(&net, node))
            .fold((0, 0), |(received, accepted), it| (received + it.received, accepted + it.accepted));
        copies += received as f64 / accepted.max(1) as f64 / seeds as f64;
    }
    println!(
        "{seeds} seeds: {copies:.2} copies a node and item, all healed within {worst_ms} ms, {longest} of them after 10 s"
    );
    assert!(copies < 4.0);
}

#[test]
fn a_tree_carries_about_one_copy_to_each_node() {
    let mut net = mesh(100, 10, 7, Config::default());
    for number in 0..20 {
        net.submit(3, "say", &json!(format!("warm up {number}")));
        net.run_ms(300);
    }
    net.run_ms(2_000);
    let before: u64 = net.nodes().map(|node| stats(&net, node).received).sum();
    for number in 0..50 {
        net.submit(3, "say", &json!(format!("item {number}")));
        net.run_ms(100);
    }
    net.run_ms(3_000);
    assert!(all_have(&net, 70));
    let after: u64 = net.nodes().map(|node| stats(&net, node).received).sum();
    let copies = (after - before) as f64 / (99 * 50) as f64;
    println!("{copies:.3} copies a node and item on a formed tree");
    assert!((1.0..1.3).contains(&copies), "{copies}");
}

#[test]
fn the_same_seed_is_the_same_gossip() {
    let run = |seed| {
        let network = Network { nodes: 12, seed, ..Network::default() };
        let faults = Faults { from_ms: 500, to_ms: 5_000, breaks: 10, crashes: 4, kills: 3, partitions: 1, spared: 0 };
        let mut scenario = Scenario::new(network.clone(), 8_000).random_mesh(4).faults(&faults);
        for at in 0..30_u32 {
            let (name, args) = ("say".to_owned(), format!("\"text {at}\""));
            scenario = scenario.at(u64::from(at) * 200, Step::Command { node: at % 12, plugin: 0, name, args });
        }
        let mut net = TestNet::new(network);
        net.record(TraceMode::Full);
        net.install::<News>(Config::default());
        net.play(&scenario);
        net
    };
    let (one, other) = (run(5), run(5));
    assert_eq!(one.trace().difference(other.trace()), None);
    assert_ne!(one.trace().digest(), run(6).trace().digest());
}

#[test]
fn both_halves_go_on_and_agree_soon_after_they_meet() {
    // Enough connections that either half hangs together.
    let mut net = mesh(40, 14, 11, Config::default());
    net.step(Step::Partition(vec![(0..20).collect(), (20..40).collect()]));
    for number in 0..100 {
        net.submit(number % 20, "say", &json!(format!("left {number}")));
        net.submit(20 + number % 20, "say", &json!(format!("right {number}")));
        net.run_ms(50);
    }
    net.run_ms(5_000);
    assert!(net.nodes().all(|node| count(&net, node) == 100));
    net.step(Step::Heal);
    let healed = net.now_ms();
    assert!(net.run_until(60_000, |net| all_have(net, 200)));
    let took = net.now_ms() - healed;
    println!("two halves with 100 items each agree {took} ms after they meet");
    assert!(took < 10_000, "{took}");
}

#[test]
fn a_node_that_was_away_catches_up() {
    let mut net = mesh(5, 4, 13, Config::default());
    net.step(Step::Kill { node: 4, lose_ms: 0 });
    for round in 0..100 {
        net.submit(0, "many", &json!([round * 100, 100]));
        net.run_ms(100);
    }
    net.run_ms(5_000);
    assert!((0..4).all(|node| count(&net, node) == 10_000));
    net.step(Step::Boot(4));
    let begun = net.now_ms();
    assert!(net.run_until(120_000, |net| count(net, 4) == 10_000), "{:?}", stats(&net, 4));
    let took = net.now_ms() - begun;
    println!("10,000 items of 170 bytes are back after {took} ms: {:?}", stats(&net, 4));
    assert!(took < 30_000);
    // An item is fetched once, not from everybody who has it.
    assert!(stats(&net, 4).received < 11_000);
}

#[test]
fn a_decision_may_come_later() {
    let config = Config { defer_ms: 300, ..Config::default() };
    let mut net = mesh(20, 5, 19, config);
    net.submit(0, "say", &json!("slowly"));
    net.run_ms(200);
    assert_eq!(net.nodes().filter(|node| count(&net, *node) == 1).count(), 1);
    assert!(net.run_until(10_000, |net| all_have(net, 1)));
}

#[test]
fn busy_lanes_are_announced_to_instead() {
    let mut net = TestNet::new(Network { nodes: 8, seed: 23, lane_bytes: 2_000, ..Network::default() });
    net.install::<News>(Config::default());
    net.full_mesh();
    net.run_ms(3_000);
    for round in 0..10 {
        net.submit(0, "many", &json!([round * 50, 50]));
        net.run_ms(20);
    }
    assert!(net.run_until(60_000, |net| all_have(net, 500)), "{:?}", stats(&net, 7));
    assert!(stats(&net, 0).debts > 0);
}

#[test]
fn a_burst_far_above_the_quotas_is_paced_and_nobody_is_blamed() {
    let mut net = TestNet::new(Network { nodes: 10, seed: 47, ..Network::default() });
    net.install::<News>(Config::default());
    net.full_mesh();
    net.run_ms(3_000);
    for round in 0..10 {
        net.submit(round % 3, "many", &json!([round * 1_200, 1_200]));
        net.run_ms(100);
    }
    let begun = net.now_ms();
    assert!(net.run_until(120_000, |net| all_have(net, 12_000)), "{:?}", stats(&net, 7));
    let received: u64 = net.nodes().map(|node| stats(&net, node).received).sum();
    let copies = received as f64 / (9.0 * 12_000.0);
    println!("12,000 items in a second are everywhere {} ms later, {copies:.2} copies", net.now_ms() - begun);
    for node in net.nodes() {
        assert_eq!(net.reports(node), [], "node {node}: {:?}", stats(&net, node));
    }
    assert!(copies < 4.0);
}

#[test]
fn a_crash_in_the_middle_of_everything_costs_nothing_but_time() {
    let mut net = mesh(10, 4, 37, Config::default());
    let revision = net.revision::<News>();
    for round in 0..20 {
        net.submit(round % 10, "say", &json!(format!("item {round}")));
        net.run_ms(30);
        net.step(Step::Crash { node: (round + 3) % 10, plugin: 0 });
        net.run_ms(30);
        net.step(Step::Upgrade { node: (round + 7) % 10, plugin: 0, revision });
    }
    assert!(net.run_until(60_000, |net| all_have(net, 20)));
}

#[test]
fn a_full_index_keeps_the_newest_and_still_agrees() {
    let config = Config { index: 500, ..Config::default() };
    let mut net = mesh(4, 3, 41, config);
    for round in 0..20 {
        net.submit(round % 4, "many", &json!([round * 100, 100]));
        net.run_ms(500);
    }
    net.run_ms(5_000);
    assert!(net.nodes().all(|node| count(&net, node) == 500));
    net.step(Step::Kill { node: 3, lose_ms: 50 });
    net.submit(0, "many", &json!([2_000, 300]));
    net.run_ms(2_000);
    net.step(Step::Boot(3));
    net.run_ms(20_000);
    let newest = ItemId::of(numbered(2_250).as_bytes());
    assert!(net.nodes().all(|node| net.plugin::<News, _>(node, |news| news.gossip.knows(&newest))));
    assert!(net.nodes().all(|node| count(&net, node) == 500));
}

#[test]
fn an_index_that_was_full_compares_everything_again_once_it_has_room() {
    let config = Config { index: 500, ..Config::default() };
    let mut net = mesh(3, 2, 59, config);
    net.submit(0, "many", &json!([0, 600]));
    assert!(net.run_until(30_000, |net| all_have(net, 500)));
    net.run_ms(5_000);
    for node in 0..3 {
        net.command(node, "drop", &json!([100, 500])).expect("dropped");
    }
    net.run_ms(1_000);
    assert!(net.nodes().all(|node| count(&net, node) == 100), "those that were left out are in again");
    // One that is older than everything which the full index had room for.
    net.step(Step::Partition(vec![vec![0, 1], vec![2]]));
    net.command(0, "say", &json!("late")).expect("said");
    net.run_ms(5_000);
    assert_eq!([0, 1, 2].map(|node| count(&net, node)), [101, 101, 100]);
    net.step(Step::Heal);
    assert!(net.run_until(60_000, |net| count(net, 2) == 101), "{:?}", stats(&net, 2));
}

#[test]
fn what_was_left_out_is_read_again_a_page_a_turn() {
    let mut host = TestHost::new::<News>(Config { index: 1_500, ..Config::default() });
    let count = |host: &mut TestHost| host.command("count", json!(null)).expect("a number");
    for (command, from) in [("many", 0), ("many", 1_400), ("drop", 1_600)] {
        host.command(command, json!([from, if command == "drop" { 1_200 } else { 1_400 }])).expect("done");
        host.advance(1_000);
    }
    // Of 1,600 that are kept there is room for these, and none of them is read twice.
    assert_eq!(count(&mut host), json!(1_500));
    host.command("drop", json!([200, 1_400])).expect("done");
    host.advance(1_000);
    assert_eq!(count(&mut host), json!(200), "the oldest came in once there was room for all");
}

#[test]
fn links_with_little_room_and_long_ways_still_carry_everything() {
    let link = LinkSpec { latency_us: 150_000, jitter_us: 100_000, bytes_per_ms: 20 };
    let mut net = TestNet::new(Network { nodes: 15, seed: 43, link, ..Network::default() });
    net.install::<News>(Config::default());
    net.random_mesh(5);
    net.run_ms(3_000);
    for round in 0..10 {
        net.submit(round, "many", &json!([round * 20, 20]));
        net.run_ms(1_000);
    }
    assert!(net.run_until(120_000, |net| all_have(net, 200)));
}

#[test]
fn what_was_forgotten_and_is_held_again_is_found_by_reconciling() {
    let mut net = mesh(4, 3, 53, Config::default());
    net.step(Step::Kill { node: 3, lose_ms: 0 });
    let id = net.command(0, "say", &json!("once more")).expect("said");
    net.run_ms(2_000);
    let everywhere = |net: &mut TestNet, command: &str| {
        (0..3).for_each(|node| drop(net.command(node, command, &json!("once more")).expect("done")));
    };
    everywhere(&mut net, "forget");
    net.step(Step::Boot(3));
    net.run_ms(60_000);
    assert_eq!(count(&net, 3), 0, "nobody compares it any more");
    everywhere(&mut net, "hold");
    let before: u64 = net.nodes().map(|node| stats(&net, node).pushed).sum();
    assert!(net.run_until(90_000, |net| count(net, 3) == 1), "{id}");
    assert_eq!(net.nodes().map(|node| stats(&net, node).pushed).sum::<u64>(), before, "it is not pushed");
}
