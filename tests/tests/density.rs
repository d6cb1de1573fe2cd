//! Many instances of ping on one node: memory of each, time to load, and that an idle one costs no CPU.
//!
//! Thirty of them, or as many as `WEIR_DENSITY` says; a thousand are the long form.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weir_host::plugin::{Allocator, CacheConfig, EngineConfig, PluginPolicy, PluginSettings};
use weir_sdk::renamable::renamed;
use weir_tests::guests::guest;
use weir_tests::plugins::Bench;
use weir_tests::process::{at_rest, cpu_time, resident};
use weir_tests::weir::Weir;

/// How long an idle node is watched.
const IDLE: Duration = Duration::from_secs(4);

fn instances() -> usize {
    std::env::var("WEIR_DENSITY").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

fn name(number: usize) -> String {
    format!("ping-{number}")
}

fn engine(folder: &Path, allocator: Allocator) -> EngineConfig {
    let cache = CacheConfig { folder: folder.join("code"), max_bytes: 8 << 30 };
    EngineConfig { cache: Some(cache), allocator, ..EngineConfig::default() }
}

struct Figures {
    load: Duration,
    memory: u64,
    idle: Duration,
}

/// Loads all of them, and looks at what they take.
async fn load_all(engine: EngineConfig, cached: bool) -> Result<(Bench, Figures)> {
    let plugin = guest("ping-renamable");
    let bench = Bench::start(PluginPolicy::default(), engine);
    let before = resident("self")?;
    let began = Instant::now();
    for number in 0..instances() {
        let loaded = bench.load(renamed(plugin.clone(), &name(number))?, PluginSettings::default()).await?;
        ensure!(loaded.name == name(number) && loaded.code.cached == cached, "{loaded:?}");
    }
    let load = began.elapsed() / instances() as u32;
    let memory = resident("self")?.saturating_sub(before) / instances() as u64;
    at_rest("self").await?;
    let used = cpu_time("self")?;
    tokio::time::sleep(IDLE).await;
    let idle = cpu_time("self")? - used;
    Ok((bench, Figures { load, memory, idle }))
}

async fn run(what: &str, engine: EngineConfig, cached: bool) -> Result<Figures> {
    let (bench, figures) = load_all(engine, cached).await?;
    let Figures { load, memory, idle } = figures;
    eprintln!(
        "{what}: {} instances of ping: {load:.2?} to load one, {:.0} KiB of memory each, {idle:.0?} of CPU time in {IDLE:?} idle",
        instances(),
        memory as f64 / 1024.0
    );
    for number in [0, instances() / 2, instances() - 1] {
        let stats = bench.call(&name(number), "stats", json!({})).await?;
        ensure!(stats["messages"] == 0, "each is a ping of its own: {stats}");
    }
    bench.plugins.shutdown(tokio::time::Instant::now() + Duration::from_secs(60)).await;
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_plugins_are_cheap_and_idle_ones_cost_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let on_demand = || engine(folder.path(), Allocator::OnDemand);
    run("on demand, compiled", on_demand(), false).await?;
    let figures = run("on demand, from the cache", on_demand(), true).await?;
    let memory = usize::try_from(PluginPolicy::default().memory)?;
    let pools = || engine(folder.path(), Allocator::Pooling { instances: instances() as u32, memory });
    run("pooling, from the cache", pools(), true).await?;
    ensure!(figures.memory < 8 << 20, "{} bytes for each", figures.memory);
    ensure!(figures.idle < IDLE / 10, "{:?} of CPU time", figures.idle);
    Ok(())
}

/// The real node, with all of them in its folder: compiled when it first starts, found again when it starts anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_starts_with_many() -> Result<()> {
    let mut weir = Weir::init()?;
    let count = instances();
    let most = count.to_string();
    weir.configure("plugins", &[("max_plugins", &most), ("max_memory", "\"8 MiB\""), ("code_cache", "\"8 GiB\"")])?;
    weir.configure("limits", &[("memory_limit", "\"64 GiB\"")])?;
    let plugins = weir.folder().join("plugins");
    std::fs::create_dir_all(&plugins)?;
    let plugin = guest("ping-renamable");
    for number in 0..count {
        std::fs::write(plugins.join(format!("{}.wasm", name(number))), renamed(plugin.clone(), &name(number))?)?;
    }
    for what in ["compiled", "from the cache"] {
        let began = Instant::now();
        weir.run()?;
        let started = began.elapsed();
        let process = weir.process().context("it runs")?.to_string();
        let listed = weir.json(&["plugin", "list"])?;
        let listed = listed["plugins"].as_array().context("a list")?.len();
        ensure!(listed == count, "{listed} of {count} are loaded");
        let memory = resident(&process)?;
        at_rest(&process).await?;
        let used = cpu_time(&process)?;
        tokio::time::sleep(IDLE).await;
        let idle = cpu_time(&process)? - used;
        eprintln!(
            "weir with {count} plugins, {what}: ready after {started:.2?} ({:.2?} for each), {:.0} MiB in all, {idle:.0?} of CPU \
             time in {IDLE:?} idle",
            started / count as u32,
            memory as f64 / f64::from(1 << 20)
        );
        weir.terminate()?;
    }
    Ok(())
}
