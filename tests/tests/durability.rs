//! Whole turns of real plugins over a disk that is slow and loses power: a strict one says nothing that it can forget.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_host::peer::PeerId;
use weir_host::plugin::store::{Durability, MemoryDisk, Store, StorePolicy};
use weir_host::plugin::{
    Caller, PluginPolicy, PluginSettings, PluginSource, PluginState, Plugins, PluginsConfig, Preemption,
};
use weir_host::protocol::ProtocolId;
use weir_tests::guests::guest;
use weir_tests::keeper::{Told, Watched, read};
use weir_tests::mock_network::MockNetwork;
use weir_tests::node::{PATIENCE, until};
use weir_tests::plugins::config;

struct Node {
    network: Arc<MockNetwork>,
    plugins: Plugins,
}

const PEER: PeerId = PeerId::from_bytes([1; 32]);
const KEEPERS: [&str; 2] = ["keeper-strict", "keeper-relaxed"];

fn protocol(name: &str) -> ProtocolId {
    format!("/{name}/1").parse().expect("a protocol id")
}

fn source(name: &str, durability: Durability) -> PluginSource {
    let settings = PluginSettings { durability: Some(durability), ..PluginSettings::default() };
    PluginSource { bytes: guest(&name.replace('-', "_")), path: None, settings }
}

impl Node {
    fn start(disk: &MemoryDisk) -> Self {
        let network = Arc::new(MockNetwork::default());
        network.connect(PEER);
        let policy = StorePolicy { commit_after: Duration::from_millis(1), ..StorePolicy::default() };
        let store = Store::in_memory_threaded(disk, policy).expect("a thread");
        let config = config(&network, store, PluginPolicy::default());
        let config = PluginsConfig { preemption: Preemption::Fuel, ..config };
        Self { network, plugins: Plugins::start(config).expect("an engine") }
    }

    async fn load(&self, name: &str, durability: Durability) {
        self.plugins.load(source(name, durability)).await.expect(name);
    }

    async fn go(&self, name: &str) -> bool {
        self.network.deliver(PEER, &protocol(name), &[b"go"]).await
    }

    fn turns(&self, name: &str) -> u64 {
        let info = self.plugins.list().into_iter().find(|info| info.name == name);
        info.map_or(0, |info| info.counters.turns)
    }

    fn state(&self, name: &str) -> PluginState {
        self.plugins.list().into_iter().find(|info| info.name == name).expect("it is listed").state
    }

    /// What a keeper sent since the last look.
    fn told(&self, watched: &mut [Watched; 2]) {
        for (_, id, body) in self.network.take_sent() {
            let at = KEEPERS.iter().position(|name| id == protocol(name)).expect("a keeper's");
            watched[at].hear(read(&body).expect("a keeper's message"));
        }
    }

    async fn heard_report(&self, name: &str) {
        let events = || self.plugins.list().into_iter().find(|info| info.name == name).map(|info| info.counters.events);
        until("it heard who is there", async || events() > Some(0)).await.expect("in time");
    }
}

/// Sends one message to a keeper whose disk does not answer, and cuts the power: what it had said by then.
async fn cut(durability: Durability) -> Vec<Told> {
    let disk = MemoryDisk::default();
    let node = Node::start(&disk);
    node.load("keeper-strict", durability).await;
    node.heard_report("keeper-strict").await;
    node.network.take_sent();
    disk.hold(true);
    assert!(node.go("keeper-strict").await);
    if durability == Durability::Relaxed {
        let turns = node.turns("keeper-strict");
        until("the turn is over", async || node.turns("keeper-strict") > turns || !node.network.is_silent())
            .await
            .expect("in time");
    }
    disk.crash();
    until("the plugin has given up", async || {
        // A store that failed takes nothing more, so that every turn from now on fails.
        let _ = node.go("keeper-strict").await;
        node.state("keeper-strict") == PluginState::Quarantined
    })
    .await
    .expect("in time");
    node.network.take_sent().iter().filter_map(|(_, _, body)| read(body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_turn_says_nothing_before_the_disk_has_it() {
    assert_eq!(cut(Durability::Strict).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relaxed_turn_speaks_at_once() {
    let told = cut(Durability::Relaxed).await;
    assert!(matches!(told.first(), Some(Told::Turn { turn: 2, .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_of_a_strict_upgrade_waits_for_all_that_was_before() {
    let disk = MemoryDisk::default();
    let node = Node::start(&disk);
    node.load("keeper-strict", Durability::Relaxed).await;
    node.heard_report("keeper-strict").await;
    disk.hold(true);
    assert!(node.go("keeper-strict").await);
    until("the relaxed turn has spoken", async || !node.network.is_silent()).await.expect("in time");
    let mut upgrade = tokio::spawn({
        let plugins = node.plugins.clone();
        async move { plugins.upgrade("keeper-strict", source("keeper-strict", Durability::Strict)).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut upgrade).await;
    assert!(early.is_err(), "upgraded before the disk had it");
    disk.hold(false);
    let report = upgrade.await.expect("no panic").expect("upgraded");
    assert_eq!(report.plugin.durability, Durability::Strict);
    disk.crash();
    let again = Node::start(&disk);
    again.load("keeper-strict", Durability::Strict).await;
    until("it reports", async || !again.network.is_silent()).await.expect("in time");
    let told: Vec<_> = again.network.take_sent().iter().filter_map(|(_, _, body)| read(body)).collect();
    // Load, one message, upgrade: three turns.
    assert!(matches!(told.first(), Some(Told::Start { found: 3, whole: true, .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_relaxed_plugin_waits_for_the_disk() {
    let disk = MemoryDisk::default();
    let node = Node::start(&disk);
    node.load("keeper-relaxed", Durability::Relaxed).await;
    disk.hold(true);
    let caller = || Caller::Operator("test".to_owned());
    let call = |limit| node.plugins.call("keeper-relaxed", "add", Bytes::new(), caller(), limit);
    let held = call(Duration::from_millis(200)).await;
    assert_eq!(held.expect_err("the disk has nothing").code(), "timed-out");
    disk.hold(false);
    let answer = call(PATIENCE).await.expect("an answer");
    assert!(answer.starts_with(b"[3,"), "{answer:?}");
}

/// A small generator: the moments need be repeatable, not good.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// Runs of one machine: each loads both keepers, sends them messages while the disk stops and goes on, and ends with a
/// loss of power.
async fn powerless(seed: u64, runs: u32) -> [Watched; 2] {
    let disk = MemoryDisk::default();
    let mut watched = [Watched::new(Durability::Strict), Watched::new(Durability::Relaxed)];
    let mut dice = seed;
    for run in 0..=runs {
        let node = Node::start(&disk);
        node.load(KEEPERS[0], Durability::Strict).await;
        node.load(KEEPERS[1], Durability::Relaxed).await;
        for name in KEEPERS {
            node.heard_report(name).await;
        }
        node.told(&mut watched);
        if run == runs {
            break;
        }
        for _ in 0..draw(&mut dice, 150) {
            match draw(&mut dice, 12) {
                0 => disk.hold(true),
                1 | 2 => disk.hold(false),
                // Another moment of the store's thread.
                3 => tokio::time::sleep(Duration::from_micros(draw(&mut dice, 3_000))).await,
                event => {
                    // A mailbox that is full because the disk does not answer is the end of this run.
                    let one = node.go(KEEPERS[event as usize % 2]);
                    if tokio::time::timeout(Duration::from_millis(50), one).await.is_err() {
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        disk.crash();
        // What it sends from here on is a relaxed turn's, or on the disk.
        node.told(&mut watched);
    }
    watched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_strict_plugin_said_is_there_after_every_loss_of_power() {
    let runs = std::env::var("WEIR_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let seed = std::env::var("WEIR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    eprintln!("WEIR_SEED={seed}, {runs} runs");
    let watched = powerless(seed, runs).await;
    for keeper in &watched {
        let totals = keeper.totals;
        eprintln!("{:?}: {totals:?}", keeper.durability);
        assert_eq!((totals.torn, totals.starts), (0, u64::from(runs) + 1));
    }
    assert_eq!(watched[0].totals.lost, 0, "a message left before its writes were on the disk");
    assert!(watched[0].totals.turns > 0 && watched[1].totals.lost > 0, "nothing would have been seen: {watched:?}");
}
