//! WASI 0.2 for who was granted it: what is printed goes to the log, the rest reaches nothing and waits for nothing.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use weir_host::plugin::{CrashKind, EngineConfig, PluginPolicy, PluginSettings};
use weir_tests::guests::guest;
use weir_tests::node::until;
use weir_tests::plugins::Bench;

async fn granted() -> Bench {
    let bench = Bench::start(PluginPolicy::default(), EngineConfig::default());
    let settings = PluginSettings { grants: vec!["wasi".to_owned()], ..PluginSettings::default() };
    let info = bench.load(guest("wasi"), settings).await.expect("loaded");
    assert_eq!(info.grants, ["wasi"]);
    assert_eq!(info.description, "described at 0", "whoever is only asked what it is learns nothing");
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_grant_it_is_refused_with_the_line_to_add() {
    let bench = Bench::start(PluginPolicy::default(), EngineConfig::default());
    let error = bench.load(guest("wasi"), PluginSettings::default()).await.expect_err("refused");
    assert_eq!(error.code(), "missing-grant");
    let text = error.to_string();
    assert!(text.contains("plugin wasi asks for \"wasi\"; grant it with [plugins.x] grants = [\"wasi\"]"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_to_reach() -> Result<()> {
    let bench = granted().await;
    let found = bench.call("wasi", "environment", json!({})).await?;
    let nothing = json!({"variables": [], "arguments": [], "folders": 0, "sockets": found["sockets"]});
    assert_eq!(found, nothing);
    let sockets: Vec<_> =
        found["sockets"].as_array().into_iter().flatten().flat_map(Value::as_array).flatten().collect();
    assert_eq!(sockets.len(), 4, "TCP and UDP, of either family: {found}");
    // Where one is refused is the engine's choice; that none gets anywhere is ours.
    let refused = |socket: &&Value| {
        let text = socket.as_str().unwrap_or_default();
        let stages = if text.starts_with("made: ") { 1 } else { 2 };
        text.matches("\"access-denied\"").count() == stages
    };
    assert!(sockets.iter().all(refused), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_and_random_numbers_are_the_nodes() -> Result<()> {
    let bench = granted().await;
    let clocks = bench.call("wasi", "clocks", json!({})).await?;
    assert!(clocks["seconds"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000), "{clocks}");
    let random = async || bench.call("wasi", "random", json!({})).await;
    assert_ne!(random().await?, random().await?);
    bench.call("wasi", "random-much", json!({})).await.expect_err("a gibibyte is too much");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_a_turn_is_ended_and_told_what_to_do() -> Result<()> {
    let bench = granted().await;
    bench.call("wasi", "sleep", json!({})).await.expect_err("it is ended");
    until("the crash is reported", async || bench.info("wasi").last_crash.is_some()).await?;
    let crash = bench.info("wasi").last_crash.context("a crash")?;
    assert_eq!(crash.failure.kind, CrashKind::Trap);
    assert!(crash.to_string().contains("set a timer, and go on when it fires"), "{crash}");
    bench.call("wasi", "print", json!({})).await.expect("and it lives");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_is_in_the_log() -> Result<()> {
    let bench = granted().await;
    let answer: Value = bench.call("wasi", "print", json!({})).await?;
    assert_eq!(answer, json!({}));
    assert_eq!(bench.info("wasi").counters.log_lines_dropped, 0);
    assert!(
        bench.info("wasi").budgets["log_lines"].used >= 2,
        "a line of stdout and one of stderr, and none of `describe`"
    );
    Ok(())
}
