//! Calls between plugins: what they may, that they cannot stop each other, and that each ends once, whatever becomes of
//! both sides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weir_host::plugin::store::{MemoryDisk, Store};
use weir_host::plugin::{
    CallError, Caller, PluginInfo, PluginPolicy, PluginSettings, PluginSource, PluginState, Plugins, SupervisionPolicy,
};
use weir_tests::guests::guest;
use weir_tests::node::{PATIENCE, until};
use weir_tests::plugins::config;

const A: &str = "caller-a";
const B: &str = "caller-b";

#[derive(Clone)]
struct Node(Plugins);

fn source(name: &str, config: Value) -> PluginSource {
    let grants = ["call:caller-a", "call:caller-b", "call:nobody"].map(str::to_owned).to_vec();
    let settings = PluginSettings { grants, config, ..PluginSettings::default() };
    PluginSource { bytes: guest(&name.replace('-', "_")), path: None, settings }
}

impl Node {
    async fn start(policy: PluginPolicy) -> Self {
        let (network, store) = (Arc::default(), Store::in_memory(&MemoryDisk::default()));
        let node = Self(Plugins::start(config(&network, store, policy)).expect("an engine"));
        for name in [A, B] {
            node.0.load(source(name, json!({}))).await.expect(name);
        }
        node
    }

    async fn try_call(&self, plugin: &str, command: &str, args: Value) -> Result<Value, CallError> {
        let caller = Caller::Operator("test".to_owned());
        let body = Bytes::from(args.to_string());
        let answer = self.0.call(plugin, command, body, caller, PATIENCE).await?;
        Ok(serde_json::from_slice(&answer).expect("JSON"))
    }

    async fn call(&self, plugin: &str, command: &str, args: Value) -> Value {
        self.try_call(plugin, command, args).await.unwrap_or_else(|error| panic!("{plugin} {command}: {error}"))
    }

    /// Starts a call of a command that goes on beside the test.
    fn begin(&self, plugin: &'static str, command: &'static str, args: Value) -> Pending {
        let node = self.clone();
        Pending(tokio::spawn(async move { node.try_call(plugin, command, args).await }))
    }

    async fn counts(&self, plugin: &str) -> Value {
        self.call(plugin, "counts", json!({})).await
    }

    async fn until_count(&self, plugin: &str, key: &str, value: u64) {
        until(&format!("{key} of {plugin} is {value}"), async || self.counts(plugin).await[key] == value)
            .await
            .expect("in time");
    }

    fn info(&self, plugin: &str) -> PluginInfo {
        self.0.list().into_iter().find(|info| info.name == plugin).expect("it is listed")
    }
}

struct Pending(tokio::task::JoinHandle<Result<Value, CallError>>);

impl Pending {
    async fn outcome(self) -> Result<Value, CallError> {
        tokio::time::timeout(PATIENCE, self.0).await.expect("in time").expect("no panic")
    }
}

fn to(plugin: &str, name: &str) -> Value {
    json!({"to": plugin, "name": name, "args": {}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_plugins_that_call_each_other_at_once_both_get_their_answers() {
    let node = Node::start(PluginPolicy::default()).await;
    let mut calls = JoinSet::new();
    for n in 0..400 {
        let (node, there, back) = (node.clone(), [A, B][n % 2], [B, A][n % 2]);
        // A asks B to ask A to echo, while B asks A to ask B.
        let nested = json!({"to": back, "name": "call", "args": {"to": there, "name": "echo", "args": n}});
        calls.spawn(async move { node.call(there, "call", nested).await });
        if calls.len() > 150 {
            assert_eq!(calls.join_next().await.expect("some").expect("no panic"), json!({"outcome": "ok"}));
        }
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.expect("no panic"), json!({"outcome": "ok"}));
    }
    for name in [A, B] {
        let counts = node.counts(name).await;
        assert_eq!((&counts["open"], &counts["stray"]), (&json!(0), &json!(0)), "{counts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_may_call_itself_and_nobody_is_told_as_unknown() {
    let node = Node::start(PluginPolicy::default()).await;
    assert_eq!(node.call(A, "call", to(A, "echo")).await, json!({"outcome": "ok"}));
    assert_eq!(node.call(A, "call", to("nobody", "echo")).await, json!({"outcome": "unknown-plugin"}));
    assert_eq!(node.call(A, "call", to("caller-c", "echo")).await, json!({"refused": "not-granted"}));
    assert_eq!(node.call(A, "call", to(B, "what")).await, json!({"outcome": "unknown-command"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_has_so_many_open_and_no_more() {
    let policy = PluginPolicy { open_calls: 5, ..PluginPolicy::default() };
    let node = Node::start(policy).await;
    let many = json!({"to": B, "name": "hold", "n": 9});
    assert_eq!(node.call(A, "many", many.clone()).await, json!({"taken": 5, "refused": "busy"}));
    assert_eq!(node.call(A, "call", to(B, "echo")).await, json!({"refused": "busy"}));
    // Other pairs, and the operator, do not feel it.
    assert_eq!(node.call(A, "call", to(A, "echo")).await, json!({"outcome": "ok"}));
    assert_eq!(node.call(B, "call", to(A, "echo")).await, json!({"outcome": "ok"}));
    node.until_count(B, "held", 5).await;
    node.call(B, "release", json!({})).await;
    node.until_count(A, "open", 0).await;
    assert_eq!(node.call(A, "many", many).await, json!({"taken": 5, "refused": "busy"}));
    assert_eq!(node.info(A).counters.calls_refused, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_calls_no_faster_than_its_rate() {
    let policy = PluginPolicy { calls_per_second: 20, ..PluginPolicy::default() };
    let node = Node::start(policy).await;
    let many = json!({"to": B, "name": "echo", "n": 100});
    let began = std::time::Instant::now();
    let first = node.call(A, "many", many.clone()).await;
    assert_eq!(first["refused"], "over-budget");
    let mut taken = first["taken"].as_u64().expect("a number");
    assert!((20..=22).contains(&taken), "a second's calls at once: {first}");
    while taken < 40 {
        taken += node.call(A, "many", many.clone()).await["taken"].as_u64().expect("a number");
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "40 calls in {:?}", began.elapsed());
    node.until_count(A, "open", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_never_answered_times_out_and_is_recalled() {
    let node = Node::start(PluginPolicy::default()).await;
    let args = json!({"to": B, "name": "hold", "timeout_ms": 50});
    assert_eq!(node.call(A, "call", args).await, json!({"outcome": "timed-out"}));
    node.until_count(B, "withdrawn", 1).await;
    let counts = node.counts(A).await;
    assert_eq!(counts["heard"], json!({"timed-out": 1}), "{counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_goes_away_is_told_to_the_plugin_at_once() {
    let node = Node::start(PluginPolicy::default()).await;
    let call = node.begin(A, "hold", json!({}));
    node.until_count(A, "held", 1).await;
    call.0.abort();
    node.until_count(A, "withdrawn", 1).await;
    assert_eq!(node.counts(A).await["held"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_ends_what_both_sides_had_open() {
    let node = Node::start(PluginPolicy::default()).await;
    // B owes A an answer, and crashes.
    let owed = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    let crashed = node.try_call(B, "crash", json!({})).await.expect_err("it crashed");
    assert_eq!(crashed.code(), "plugin-crashed");
    assert_eq!(owed.outcome().await.expect("A answers"), json!({"outcome": "gone"}));
    // A waits for B, and crashes: its operator hears it, B is told, and the answer to a dead instance goes nowhere.
    let lost = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.try_call(A, "crash", json!({})).await.expect_err("it crashed");
    assert_eq!(lost.outcome().await.expect_err("its instance is gone").code(), "gone");
    node.until_count(B, "withdrawn", 1).await;
    node.call(B, "release", json!({})).await;
    let counts = node.counts(A).await;
    assert_eq!((&counts["stray"], &counts["open"]), (&json!(0), &json!(0)), "{counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_with_a_snapshot_keeps_calls_open_on_both_sides() {
    let node = Node::start(PluginPolicy::default()).await;
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    for name in [A, B] {
        let report = node.0.upgrade(name, source(name, json!({}))).await.expect("upgraded");
        assert!(report.snapshot_bytes.is_some(), "{:?}", report.snapshot_skipped);
    }
    node.call(B, "release", json!({})).await;
    assert_eq!(call.outcome().await.expect("answered"), json!({"outcome": "ok"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_without_a_snapshot_ends_them_but_not_what_its_start_opens() {
    let node = Node::start(PluginPolicy::default()).await;
    let none = json!({"snapshot": false});
    for name in [A, B] {
        node.0.upgrade(name, source(name, none.clone())).await.expect("upgraded");
    }
    // The callee: its caller hears that it is gone.
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.0.upgrade(B, source(B, none.clone())).await.expect("upgraded");
    assert_eq!(call.outcome().await.expect("A answers"), json!({"outcome": "gone"}));
    // The caller: the callee hears that nobody waits.
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    let calls = json!({"snapshot": false, "calls": B});
    node.0.upgrade(A, source(A, calls)).await.expect("upgraded");
    assert_eq!(call.outcome().await.expect_err("its instance is gone").code(), "gone");
    node.until_count(B, "withdrawn", 1).await;
    // What `start` called has its outcome.
    node.until_count(A, "open", 0).await;
    let counts = node.counts(A).await;
    assert_eq!((&counts["heard"], &counts["stray"]), (&json!({"ok": 1}), &json!(0)), "{counts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unloading_either_side_ends_the_call() {
    let node = Node::start(PluginPolicy::default()).await;
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.0.unload(B).await.expect("unloaded");
    assert_eq!(call.outcome().await.expect("A answers"), json!({"outcome": "gone"}));
    assert_eq!(node.call(A, "call", to(B, "echo")).await, json!({"outcome": "unknown-plugin"}));
    node.0.load(source(B, json!({}))).await.expect("loaded");
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.0.unload(A).await.expect("unloaded");
    assert_eq!(call.outcome().await.expect_err("A is gone").code(), "gone");
    node.until_count(B, "withdrawn", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantine_of_either_side_ends_the_call() {
    let supervision = SupervisionPolicy { crashes: 1, ..SupervisionPolicy::default() };
    let policy = PluginPolicy { supervision, ..PluginPolicy::default() };
    let node = Node::start(policy).await;
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.try_call(B, "crash", json!({})).await.expect_err("it crashed");
    assert_eq!(call.outcome().await.expect("A answers"), json!({"outcome": "gone"}));
    until("B is quarantined", async || node.info(B).state == PluginState::Quarantined).await.expect("in time");
    assert_eq!(node.call(A, "call", to(B, "echo")).await, json!({"outcome": "unknown-plugin"}));
    node.0.upgrade(B, source(B, json!({}))).await.expect("upgraded");
    let call = node.begin(A, "call", to(B, "hold"));
    node.until_count(B, "held", 1).await;
    node.try_call(A, "crash", json!({})).await.expect_err("it crashed");
    assert_eq!(call.outcome().await.expect_err("A is gone").code(), "gone");
    node.until_count(B, "withdrawn", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_no_call_open() {
    let node = Node::start(PluginPolicy::default()).await;
    let calls = [node.begin(A, "call", to(B, "hold")), node.begin(B, "call", to(A, "hold"))];
    for name in [A, B] {
        node.until_count(name, "held", 1).await;
    }
    let began = std::time::Instant::now();
    node.0.shutdown(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    assert!(began.elapsed() < Duration::from_secs(4), "it waited for a call");
    for call in calls {
        // Whichever of the two ends first tells the other, which may still say so.
        match call.outcome().await {
            Ok(answer) => assert_eq!(answer, json!({"outcome": "gone"})),
            Err(error) => assert_eq!(error.code(), "gone"),
        }
    }
}

/// A small generator: the walk need be repeatable, not good.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_once_whatever_happens() {
    let seed = std::env::var("WEIR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    let steps = std::env::var("WEIR_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(80);
    eprintln!("WEIR_SEED={seed} WEIR_STEPS={steps}");
    let at_once = Duration::from_millis(1);
    let patient =
        SupervisionPolicy { crashes: usize::MAX, backoff: at_once, longest_backoff: at_once, ..Default::default() };
    let policy = PluginPolicy { open_calls: 16, supervision: patient, ..PluginPolicy::default() };
    let node = Node::start(policy).await;
    let (mut dice, mut pending) = (seed, Vec::new());
    let (mut answers, mut failures) = (0, 0);
    for _ in 0..steps {
        let (here, there) = if draw(&mut dice, 2) == 0 { (A, B) } else { (B, A) };
        match draw(&mut dice, 20) {
            0..=11 => {
                let what = [
                    to(there, "echo"),
                    to(there, "hold"),
                    json!({"to": there, "name": "hold", "timeout_ms": 5}),
                    json!({"to": there, "name": "call", "args": {"to": here, "name": "hold"}}),
                ];
                let which = draw(&mut dice, what.len() as u64) as usize;
                pending.push(node.begin(here, "call", what[which].clone()));
            }
            12 | 13 => drop(node.try_call(here, "release", json!({})).await),
            14 => drop(node.try_call(here, "crash", json!({})).await),
            15 => {
                let snapshot = draw(&mut dice, 2) == 0;
                let config = json!({"snapshot": snapshot, "calls": there});
                node.0.upgrade(here, source(here, config)).await.expect("upgraded");
            }
            16 => {
                node.0.unload(here).await.expect("unloaded");
                node.0.load(source(here, json!({"calls": there}))).await.expect("loaded");
            }
            17 if !pending.is_empty() => {
                let at = draw(&mut dice, pending.len() as u64) as usize;
                pending.swap_remove(at).0.abort();
            }
            // Another moment for whatever comes next.
            _ => tokio::time::sleep(Duration::from_millis(draw(&mut dice, 8))).await,
        }
    }
    // What is held is let go of, until nothing is.
    until("nothing is open", async || {
        let mut open = 0;
        for name in [A, B] {
            drop(node.call(name, "release", json!({})).await);
            open += node.counts(name).await["open"].as_u64().unwrap_or_default();
        }
        open == 0
    })
    .await
    .expect("in time");
    for call in pending {
        match call.outcome().await {
            Ok(_) => answers += 1,
            Err(error) => {
                assert!(["gone", "plugin-crashed", "unknown-plugin"].contains(&error.code()), "{error}");
                failures += 1;
            }
        }
    }
    eprintln!("{answers} answers, {failures} failures");
    for name in [A, B] {
        let counts = node.counts(name).await;
        assert_eq!(counts["stray"], 0, "an outcome came twice, or to the wrong instance: {counts}");
    }
    assert!(answers > 0 && failures > 0, "too little happened");
}
