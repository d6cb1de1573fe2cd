//! What a plugin may use: set for it alone, held to, and shown.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weir_host::peer::PeerId;
use weir_host::plugin::{
    BudgetUnit, EngineConfig, PluginBudgets, PluginInfo, PluginPolicy, PluginSettings, PluginSource,
};
use weir_tests::guests::guest;
use weir_tests::node::{guest_path, until};
use weir_tests::plugins::Bench;
use weir_tests::weir::Weir;

fn bench() -> Bench {
    Bench::start(PluginPolicy::default(), EngineConfig::default())
}

fn settings(budgets: PluginBudgets) -> PluginSettings {
    PluginSettings { budgets, ..PluginSettings::default() }
}

fn use_of(info: &PluginInfo, budget: &str) -> (u64, u64) {
    let found = info.budgets.get(budget).unwrap_or_else(|| panic!("no budget {budget}"));
    (found.used, found.limit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_plugin_has_its_own_and_an_upgrade_may_change_them() -> Result<()> {
    let bench = bench();
    let few = settings(PluginBudgets { timers: Some(5), ..PluginBudgets::default() });
    bench.load(guest("timers"), few).await?;
    bench.load(guest("ping-0.1"), PluginSettings::default()).await?;
    let ask = json!({"first": 1, "count": 10, "after_ms": 3_600_000, "step_ms": 0});
    assert_eq!(bench.call("timers", "set", ask.clone()).await?, json!({"set": 5}));
    assert_eq!(use_of(&bench.info("timers"), "timers"), (5, 5));
    assert_eq!(use_of(&bench.info("ping"), "timers"), (0, u64::from(PluginPolicy::default().timers)));
    let more = settings(PluginBudgets { timers: Some(8), mailbox_events: Some(9), ..PluginBudgets::default() });
    let source = PluginSource { bytes: guest("timers"), path: None, settings: more };
    bench.plugins.upgrade("timers", source).await?;
    assert_eq!(bench.call("timers", "set", ask).await?, json!({"set": 8}));
    let info = bench.info("timers");
    assert_eq!((use_of(&info, "timers"), use_of(&info, "mailbox_events").1), ((8, 8), 9));
    assert_eq!(info.budgets["memory"].unit, BudgetUnit::Bytes);
    let (memory, limit) = use_of(&info, "memory");
    assert!(memory >= 1 << 16 && memory < limit, "{memory} of {limit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_revision_that_comes_back_has_its_own_again() -> Result<()> {
    const MESSAGES: usize = 100;
    let bench = bench();
    bench.load(guest("journal"), PluginSettings::default()).await?;
    let one_at_a_time = settings(PluginBudgets { batch_events: Some(1), ..PluginBudgets::default() });
    let source = PluginSource { bytes: guest("journal_next"), path: None, settings: one_at_a_time };
    bench.plugins.upgrade("journal", source).await?;
    for _ in 0..3 {
        bench.call("journal", "poison", json!({})).await.expect_err("it panics");
    }
    until("the version before is back", async || bench.info("journal").counters.rollbacks == 1).await?;
    bench.call("journal", "note", json!({})).await?;
    let (peer, protocol) = (PeerId::from_bytes([1; 32]), "/journal/1".parse()?);
    bench.network.connect(peer);
    let before = bench.info("journal").counters.turns;
    ensure!(bench.network.deliver(peer, &protocol, &[b"x".as_slice(); MESSAGES]).await, "it is heard");
    until("it has them", async || bench.info("journal").counters.messages >= MESSAGES as u64).await?;
    let turns = bench.info("journal").counters.turns - before;
    ensure!(turns < 10, "{MESSAGES} messages took {turns} turns");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_needs_more_memory_than_it_may_have_is_refused_in_words() {
    let little = settings(PluginBudgets { memory: Some(64 << 10), ..PluginBudgets::default() });
    let error = bench().load(guest("counter"), little).await.expect_err("refused").to_string();
    assert!(error.contains("memory"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_cannot_make_the_host_allocate_more_than_it_may() -> Result<()> {
    let bench = bench();
    let budgets = PluginBudgets { host_call: Some(64 << 10), ..PluginBudgets::default() };
    let grants = ["sign", "call:ping", "call:everything", "call:nobody", "protocol:/room"].map(str::to_owned);
    let settings = PluginSettings { grants: grants.to_vec(), ..settings(budgets) };
    bench.load(guest("everything"), settings).await?;
    let text = |bytes: usize| json!({"text": "x".repeat(bytes)});
    assert!(bench.call("everything", "sign", text(40_000)).await.is_ok());
    bench.call("everything", "sign", text(100_000)).await.expect_err("it traps");
    until("the crash is reported", async || bench.info("everything").last_crash.is_some()).await?;
    let crash = bench.info("everything").last_error.context("a crash")?;
    assert!(crash.contains("too much data is being copied between the host and the guest"), "{crash}");
    assert!(bench.call("everything", "sign", text(10)).await.is_ok(), "and it lives");
    assert!(bench.call("everything", "hash", text(60_000)).await.is_ok(), "what does not fit a call is hashed inside");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_counted_by_the_second_not_by_the_turn() -> Result<()> {
    let bench = bench();
    let budgets = PluginBudgets { log_lines: Some(10), ..PluginBudgets::default() };
    let settings = PluginSettings { grants: vec!["wasi".to_owned()], ..settings(budgets) };
    bench.load(guest("wasi"), settings).await?;
    for _ in 0..3 {
        bench.call("wasi", "print-much", json!({})).await?;
    }
    let info = bench.info("wasi");
    let dropped = info.counters.log_lines_dropped;
    // Ten at once, and ten more for each second that the test took.
    assert!((2_000..=2_991).contains(&dropped), "{dropped} lines were dropped");
    assert_eq!(use_of(&info, "log_lines").1, 10);
    assert_eq!(info.budgets["log_lines"].unit, BudgetUnit::PerSecond);
    Ok(())
}

#[test]
fn an_operator_sets_and_sees_them() -> Result<()> {
    let mut weir = Weir::init()?;
    let file = weir.folder().join("weir.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{text}\n[plugins.ping]\nmemory = \"32 MiB\"\ntimers = 7\n"))?;
    weir.run()?;
    let ping = guest_path("ping-0.1")?;
    let ping = ping.to_str().context("UTF-8")?;
    weir.json(&["plugin", "load", ping])?;
    let budgets = weir.json(&["plugin", "list"])?["plugins"][0]["budgets"].clone();
    ensure!(budgets["memory"]["limit"] == 32 << 20 && budgets["timers"]["limit"] == 7, "{budgets}");
    let list = weir.text(&["plugin", "list"])?;
    for part in ["MEMORY", "/32 MiB", "0/7", "/256 MiB"] {
        ensure!(list.contains(part), "`{part}` is not in\n{list}");
    }
    // Beside the file it may ask for what it likes, within what the node may take.
    let greedy = weir.folder().join("greedy.wasm");
    std::fs::copy(guest_path("counter")?, &greedy)?;
    std::fs::write(greedy.with_extension("toml"), "memory = \"4 GiB\"")?;
    let failed = weir.failure(&["plugin", "load", greedy.to_str().context("UTF-8")?])?;
    ensure!(failed.code == "over-memory-limit" && failed.message.contains("plugins.NAME.memory"), "{failed:?}");
    std::fs::write(greedy.with_extension("toml"), "memory = \"65 MiB\"\ntimers = -1")?;
    let failed = weir.failure(&["plugin", "load", greedy.to_str().context("UTF-8")?])?;
    ensure!(failed.message.contains("greedy.toml line 2: timers: `-1` is no whole number"), "{failed:?}");
    std::fs::write(greedy.with_extension("toml"), "memory = \"65 MiB\"")?;
    weir.json(&["plugin", "load", greedy.to_str().context("UTF-8")?])?;
    Ok(())
}
