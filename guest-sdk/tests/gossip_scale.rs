//! How gossip grows: the same mesh with ten times the nodes. The table goes into `docs/gossip.md`.
//!
//! The long form: `cargo test --release -p weir-sdk --test gossip_scale -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "a table for people")]

mod common;

use std::time::Instant;

use common::{Config, News, count, stats};
use serde_json::json;
use weir_sdk::gossip::Stats;
use weir_sdk::testing::{Network, TestNet};

/// Connections a node has; the active view is a handful of them.
const DEGREE: u32 = 12;

struct Row {
    nodes: u32,
    phase: &'static str,
    reached: f64,
    copies: f64,
    ids: f64,
    hops: (u8, u8, u8),
    ms: (u64, u64),
}

fn sum(net: &TestNet) -> Stats {
    net.nodes().map(|node| stats(net, node)).fold(Stats::default(), |sum, it| Stats {
        received: sum.received + it.received,
        accepted: sum.accepted + it.accepted,
        heard: sum.heard + it.heard,
        ..sum
    })
}

fn percentile<T: Copy + Ord>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Says items one after the other at nodes all over the network, each when the one before has arrived everywhere.
fn measure(net: &mut TestNet, phase: &'static str, items: u32, same_node: bool) -> Row {
    let nodes = net.nodes().end;
    let before = sum(net);
    let marks: Vec<_> =
        net.nodes().map(|node| net.plugin::<News, _>(node, |news| (news.hops.len(), news.accepted_at.len()))).collect();
    let held = count(net, 0);
    let mut said = std::collections::BTreeMap::new();
    for number in 0..items {
        let node = if same_node { 0 } else { (number * 7_919) % nodes };
        let id = net.command(node, "say", &json!(format!("{phase} {number} {}", "x".repeat(200)))).expect("said");
        let id = id.as_str().map(str::to_owned).expect("an id");
        let at = net.plugin::<News, _>(node, |news| news.accepted_at.last().map(|(_, at)| *at)).expect("said");
        said.insert(id, at);
        net.run_ms(3_000);
    }
    net.run_ms(3_000);
    let after = sum(net);
    let reached: usize = net.nodes().map(|node| (count(net, node) - held).min(items as usize)).sum();
    let (mut hops, mut ms) = (Vec::new(), Vec::new());
    for (node, (hop, at)) in net.nodes().zip(marks) {
        net.plugin::<News, _>(node, |news| {
            hops.extend_from_slice(&news.hops[hop..]);
            ms.extend(news.accepted_at[at..].iter().map(|(id, at)| at - said[&id.to_string()]));
        });
    }
    let deliveries = f64::from(items) * f64::from(nodes - 1);
    let top = *hops.iter().max().expect("hops");
    Row {
        nodes,
        phase,
        reached: reached as f64 / f64::from(items) / f64::from(nodes),
        copies: (after.received - before.received) as f64 / deliveries,
        ids: (after.heard - before.heard) as f64 / deliveries,
        hops: (percentile(&mut hops, 50), percentile(&mut hops, 99), top),
        ms: (percentile(&mut ms, 50), percentile(&mut ms, 99)),
    }
}

fn rows(nodes: u32, items: u32) -> [Row; 3] {
    // Reconciling is left out: what the tree does not bring would show.
    let config = Config { reconcile_every_ms: 3_600_000, ..Config::default() };
    let mut net = TestNet::new(Network { nodes, seed: u64::from(nodes), ..Network::default() });
    net.install::<News>(config);
    net.random_mesh(DEGREE);
    net.run_ms(5_000);
    let first = measure(&mut net, "first item", 1, true);
    measure(&mut net, "tree forms", 20, true);
    [first, measure(&mut net, "one sender", items, true), measure(&mut net, "any sender", items, false)]
}

fn print(row: &Row, begun: Instant) {
    println!(
        "| {:>6} | {:<10} | {:>7.3} % | {:>6.3} | {:>5.2} | {:>2} / {:>2} / {:>2} | {:>4} / {:>4} | {:>5.1} s |",
        row.nodes,
        row.phase,
        row.reached * 100.0,
        row.copies,
        row.ids,
        row.hops.0,
        row.hops.1,
        row.hops.2,
        row.ms.0,
        row.ms.1,
        begun.elapsed().as_secs_f64()
    );
}

fn table(sizes: &[u32], items: u32) -> Vec<Row> {
    println!("|  nodes | items      | reached   | copies | ids   | hops 50/99/most | ms 50/99  | run     |");
    let mut all = Vec::new();
    for nodes in sizes {
        let begun = Instant::now();
        let rows = rows(*nodes, items);
        rows.iter().for_each(|row| print(row, begun));
        all.extend(rows);
    }
    all
}

#[test]
fn a_hundred_nodes_in_short() {
    for row in table(&[100], 10) {
        assert!(row.reached >= 1.0, "{} nodes: {}", row.nodes, row.reached);
        assert!(row.phase == "first item" || row.copies < 1.5, "{}: {} copies", row.phase, row.copies);
    }
}

#[test]
#[ignore = "long: minutes without `--release`"]
fn a_table_up_to_ten_thousand_nodes() {
    for row in table(&[100, 316, 1_000, 3_162, 10_000], 20) {
        assert!(row.reached >= 1.0, "{} nodes: {}", row.nodes, row.reached);
        assert!(row.phase == "first item" || row.copies < 1.5, "{}: {} copies", row.phase, row.copies);
    }
}
