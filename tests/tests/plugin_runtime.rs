//! Real plugins in the real runtime, on a network that the test plays: the exact outcome of each misbehaviour.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use weir_host::peer::PeerId;
use weir_host::plugin::store::{MemoryDisk, Store};
use weir_host::plugin::{
    Caller, Counters, CrashKind, PluginError, PluginInfo, PluginPolicy, PluginSettings, PluginSource, Plugins,
};
use weir_host::protocol::{Network, ProtocolId};
use weir_tests::guests::guest;
use weir_tests::mock_network::MockNetwork;
use weir_tests::plugins::config;

const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    network: Arc<MockNetwork>,
    plugins: Plugins,
}

fn node() -> Node {
    let network = Arc::new(MockNetwork::default());
    let policy = PluginPolicy { turn_time: Duration::from_millis(100), ..PluginPolicy::default() };
    let config = config(&network, Store::in_memory(&MemoryDisk::default()), policy);
    Node { network, plugins: Plugins::start(config).expect("an engine") }
}

fn source(bytes: Vec<u8>, grants: &[&str]) -> PluginSource {
    let grants = grants.iter().map(|&grant| grant.to_owned()).collect();
    PluginSource {
        bytes,
        path: Some("x.wasm".into()),
        settings: PluginSettings { grants, ..PluginSettings::default() },
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

fn protocol(name: &str) -> ProtocolId {
    format!("/{name}/1").parse().expect("a protocol id")
}

impl Node {
    async fn load(&self, file: &str) -> PluginInfo {
        self.plugins.load(source(guest(file), &[])).await.expect(file)
    }

    /// Asks for the counts. Commands are handled in order with messages, so it also waits for those before.
    async fn stats(&self, plugin: &str) -> Value {
        let caller = Caller::Operator("test".to_owned());
        let answer = self.plugins.call(plugin, "stats", Bytes::from_static(b"null"), caller, PATIENCE).await;
        serde_json::from_slice(&answer.expect("an answer")).expect("JSON")
    }

    fn info(&self, plugin: &str) -> PluginInfo {
        self.plugins.list().into_iter().find(|info| info.name == plugin).expect("it is listed")
    }
}

/// Sends a batch with one poison in the middle to a plugin, beside one that behaves; returns its state afterwards.
async fn poison(name: &str) -> PluginInfo {
    let node = node();
    node.load(&name.replace('-', "_")).await;
    node.load("counter").await;
    node.network.connect(peer(1));
    let bodies: [&[u8]; 5] = [b"a", b"b", b"poison", b"c", b"d"];
    assert!(node.network.deliver(peer(1), &protocol(name), &bodies).await);
    for number in 0..100_u64 {
        assert!(node.network.deliver(peer(1), &protocol("counter"), &[&number.to_le_bytes()]).await);
    }
    assert_eq!(node.stats("counter").await, json!({"seen": 100, "disordered": false}));
    let mut stats = node.stats(name).await;
    // The loss is told, but a turn may lie between it and the command.
    while stats["missed"].is_null() {
        stats = node.stats(name).await;
    }
    // The culprit is lost, its batch-mates were handled once each, and each fresh instance heard who is there.
    let handled: Vec<_> = ["a", "b", "c", "d", "poison", "missed"].map(|body| stats[body].as_u64()).to_vec();
    assert_eq!(handled, [Some(1), Some(1), Some(1), Some(1), None, Some(1)], "{stats}");
    let info = node.info(name);
    assert_eq!(info.counters.dropped, 1);
    let error = info.last_error.as_deref().expect("an error");
    for part in [name, "in message", "position", &peer(1).short()] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    info
}

fn kind(info: &PluginInfo) -> CrashKind {
    info.last_crash.as_ref().expect("a crash").failure.kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_costs_the_message_and_nothing_else() {
    let info = poison("trap-on-message").await;
    assert_eq!(kind(&info), CrashKind::Trap);
    let error = info.last_error.expect("an error");
    assert!(error.contains("that was poison") && error.contains("trap_on_message.rs"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_is_ended_and_stops_nobody_else() {
    assert_eq!(kind(&poison("loop-forever").await), CrashKind::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_refused_and_the_report_says_so() {
    let info = poison("memory-eater").await;
    let refused = info.last_crash.expect("a crash").failure.refused_memory;
    assert!(refused.is_some_and(|bytes| bytes >= 1 << 30), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_costs_the_message_and_nothing_else() {
    assert_eq!(kind(&poison("err-on-message").await), CrashKind::Error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_lose_and_reorder_nothing() {
    let node = Arc::new(node());
    node.load("counter").await;
    node.network.connect(peer(1));
    let sender = tokio::spawn({
        let node = node.clone();
        async move {
            for number in (0..200_000_u64).step_by(50) {
                let bodies: Vec<_> = (number..number + 50).map(u64::to_le_bytes).collect();
                let bodies: Vec<&[u8]> = bodies.iter().map(|body| body.as_slice()).collect();
                assert!(node.network.deliver(peer(1), &protocol("counter"), &bodies).await);
            }
        }
    });
    for version in ["counter_v2", "counter", "counter_v2", "counter"] {
        let report = node.plugins.upgrade("counter", source(guest(version), &[])).await.expect("upgraded");
        assert_eq!(report.snapshot_bytes, Some(8));
        let failed = node.plugins.upgrade("counter", source(guest("counter_fails_to_start"), &[])).await;
        let error = failed.expect_err("it does not start");
        assert!(error.to_string().contains("not today"), "{error}");
    }
    tokio::time::timeout(PATIENCE, sender).await.expect("in time").expect("sent");
    assert_eq!(node.stats("counter").await, json!({"seen": 200_000, "disordered": false}));
    assert_eq!(node.network.registrations(&protocol("counter")), 1);
    assert_eq!(node.info("counter").version, "0.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_in_snapshot_never_blocks_an_upgrade() {
    let node = node();
    node.load("counter_trap_in_snapshot").await;
    let failed = node.plugins.upgrade("counter", source(guest("counter_fails_to_start"), &[])).await;
    assert_eq!(failed.expect_err("it does not start").code(), "start-failed");
    assert_eq!(node.stats("counter").await, json!({"seen": 0, "disordered": false}));
    let report = node.plugins.upgrade("counter", source(guest("counter_v2"), &[])).await.expect("upgraded");
    assert_eq!((report.snapshot_bytes, report.plugin.version.as_str()), (None, "0.2.0"));
    assert!(report.snapshot_skipped.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plugin_is_refused_in_words() {
    let node = node();
    let refuse = async |bytes: Vec<u8>| node.plugins.load(source(bytes, &[])).await.expect_err("refused");
    let error = refuse(b"dear diary".to_vec()).await;
    assert!(error.to_string().contains("text file that begins with `dear diary`"), "{error}");
    assert_eq!(refuse(b"\0asm\x0d\0\x01\0".to_vec()).await.code(), "other-world");
    let mut cut = guest("counter");
    cut.truncate(cut.len() / 2);
    assert_eq!(refuse(cut).await.code(), "malformed");
    let error = refuse(guest("asks_for_grant")).await;
    let text = error.to_string();
    assert!(text.contains("asks for \"call:bank\"; grant it with [plugins.x] grants = [\"call:bank\"]"), "{text}");
    let granted = node.plugins.load(source(guest("asks_for_grant"), &["call:bank"])).await.expect("granted");
    assert_eq!(granted.grants, ["call:bank"]);
    let again = node.plugins.load(source(guest("asks_for_grant"), &["call:bank"])).await;
    assert!(matches!(again, Err(PluginError::NameTaken { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unloaded_plugin_leaves_nothing_behind() {
    let node = node();
    node.load("err_on_message").await;
    assert_eq!(node.network.owner(&protocol("err-on-message")).as_deref(), Some("err-on-message"));
    node.plugins.unload("err-on-message").await.expect("unloaded");
    assert_eq!(node.network.owner(&protocol("err-on-message")), None);
    assert!(node.plugins.list().is_empty());
    node.load("err_on_message").await;
    assert_eq!(node.stats("err-on-message").await["stopping"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_crashes_too_often_is_quarantined_until_an_upgrade() {
    let node = node();
    node.load("err_on_message").await;
    node.network.connect(peer(1));
    let name = protocol("err-on-message");
    assert!(node.network.deliver(peer(1), &name, &[b"poison".as_slice(); 5]).await);
    let caller = || Caller::Operator("test".to_owned());
    let refused = loop {
        match node.plugins.call("err-on-message", "stats", Bytes::new(), caller(), PATIENCE).await {
            Err(error) if error.code() == "plugin-quarantined" => break error.to_string(),
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(refused.contains("that was poison"), "{refused}");
    assert_eq!(node.network.owner(&name), None);
    node.plugins.upgrade("err-on-message", source(guest("err_on_message"), &[])).await.expect("upgraded");
    assert!(node.network.deliver(peer(1), &name, &[b"good"]).await);
    assert_eq!(node.stats("err-on-message").await["good"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unloaded_plugin_handles_what_waits_for_it_first() {
    let node = node();
    node.load("counter").await;
    node.network.connect(peer(1));
    for number in 0..1_000_u64 {
        assert!(node.network.deliver(peer(1), &protocol("counter"), &[&number.to_le_bytes()]).await);
    }
    let info = node.plugins.unload("counter").await.expect("unloaded");
    assert_eq!((info.counters.messages, info.counters.purged), (1_000, 0));
}

// On one thread the plugin begins when the test waits, so all of it is there when the unload comes.
#[tokio::test]
async fn an_unloaded_plugin_handles_what_waits_behind_a_batch_that_fails() {
    let node = node();
    node.load("err_on_message").await;
    node.network.connect(peer(1));
    let poisoned = |number: u32| number == 100 || number == 700;
    for number in 0..1_000 {
        let body: &[u8] = if poisoned(number) { b"poison" } else { b"good" };
        assert!(node.network.deliver(peer(1), &protocol("err-on-message"), &[body]).await);
    }
    let info = node.plugins.unload("err-on-message").await.expect("unloaded");
    let Counters { messages, dropped, purged, .. } = info.counters;
    assert_eq!((messages, dropped, purged), (998, 2, 0));
}
