//! Timers belong to the plugin: they outlive crashes and upgrades, each fires once, and thousands cost no task each.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_host::plugin::{EngineConfig, PluginBudgets, PluginPolicy, PluginSettings, PluginSource};
use weir_tests::guests::guest;
use weir_tests::node::until;
use weir_tests::plugins::Bench;

fn settings(timers: u32) -> PluginSettings {
    let budgets = PluginBudgets { timers: Some(timers), turn_effects: Some(60_000), ..PluginBudgets::default() };
    PluginSettings { budgets, ..PluginSettings::default() }
}

async fn start(timers: u32) -> Result<Bench> {
    let bench = Bench::start(PluginPolicy::default(), EngineConfig::default());
    bench.load(guest("timers"), settings(timers)).await?;
    Ok(bench)
}

async fn set(bench: &Bench, count: u64, after: Duration, step: Duration) -> Result<()> {
    let (after, step) = (after.as_millis() as u64, step.as_millis() as u64);
    let ask = json!({"first": 1, "count": count, "after_ms": after, "step_ms": step});
    ensure!(bench.call("timers", "set", ask).await? == json!({"set": count}), "all of them are set");
    Ok(())
}

async fn stats(bench: &Bench) -> Result<Value> {
    bench.call("timers", "stats", json!({})).await
}

fn left(bench: &Bench) -> u64 {
    bench.info("timers").budgets["timers"].used
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_survive_a_crash_and_an_upgrade_and_fire_once() -> Result<()> {
    let bench = start(4_096).await?;
    // Long enough for a crash and an upgrade in between, on a busy machine as well.
    set(&bench, 1_000, Duration::from_secs(4), Duration::from_millis(1)).await?;
    ensure!(bench.call("timers", "crash", json!({})).await.is_err(), "it crashes");
    until("it is back", async || stats(&bench).await.is_ok()).await?;
    ensure!(left(&bench) + stats(&bench).await?["fired"].as_u64().unwrap_or(0) == 1_000, "none is lost by a crash");
    let source = PluginSource { bytes: guest("timers"), path: None, settings: settings(4_096) };
    bench.plugins.upgrade("timers", source).await?;
    until("all have fired", async || stats(&bench).await.is_ok_and(|stats| stats["fired"] == 1_000)).await?;
    let stats = stats(&bench).await?;
    ensure!(left(&bench) == 0 && stats["twice"] == 0 && stats["in_order"] == true, "{stats}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_of_one_plugin_fire_in_order() -> Result<()> {
    let bench = start(50_000).await?;
    let began = std::time::Instant::now();
    set(&bench, 50_000, Duration::from_secs(1), Duration::ZERO).await?;
    eprintln!("50,000 timers set in one turn after {:.1?}", began.elapsed());
    until("all have fired", async || stats(&bench).await.is_ok_and(|stats| stats["fired"] == 50_000)).await?;
    eprintln!("and all have fired after {:.1?}", began.elapsed());
    let stats = stats(&bench).await?;
    ensure!(left(&bench) == 0 && stats["twice"] == 0 && stats["in_order"] == true, "{stats}");
    Ok(())
}

/// The clock that timers wait for has a tick of a millisecond; one of 0 ms must not wait for it each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_of_0_ms_is_the_next_turn() -> Result<()> {
    const TURNS: u64 = 20_000;
    let bench = start(1).await?;
    let took = bench.call("timers", "chain", json!({"count": TURNS})).await?["took_ms"].as_u64().unwrap_or(u64::MAX);
    eprintln!("{TURNS} timers of 0 ms, each set by the one before: {took} ms");
    // Far below what as many ticks take, far above what the turns take.
    ensure!(took < TURNS / 2, "{took} ms");
    Ok(())
}
