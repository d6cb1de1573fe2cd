//! From a plugin's file to its code: limits on compiling, and compiled code that is kept and never taken from others.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weir_host::plugin::{CacheConfig, EngineConfig, PluginInfo, PluginPolicy, PluginSettings};
use weir_tests::guests::guest;
use weir_tests::node::guest_path;
use weir_tests::plugins::Bench;
use weir_tests::wasm::inflated;
use weir_tests::weir::Weir;

/// What an entry of the cache has before its code.
const HEAD: usize = 52;

fn cached(folder: &Path) -> EngineConfig {
    let cache = CacheConfig { folder: folder.join("code"), max_bytes: 1 << 30 };
    EngineConfig { cache: Some(cache), ..EngineConfig::default() }
}

/// The program that compiles for a node.
fn with_program() -> EngineConfig {
    let program = std::env::var_os("WEIR_BIN").map(PathBuf::from);
    assert!(program.is_some(), "WEIR_BIN is not set: run the tests with `cargo xtask test`");
    EngineConfig { program, ..EngineConfig::default() }
}

async fn load(engine: &EngineConfig, bytes: Vec<u8>) -> (PluginInfo, Duration) {
    let bench = Bench::start(PluginPolicy::default(), engine.clone());
    let began = Instant::now();
    let info = bench.load(bytes, PluginSettings::default()).await.expect("loaded");
    let elapsed = began.elapsed();
    bench.call(&info.name, "stats", json!({})).await.expect("it runs");
    (info, elapsed)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("code")).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_is_loaded_from_the_cache_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = cached(folder.path());
    let (cold, cold_load) = load(&engine, guest("ping-0.1")).await;
    assert!(!cold.code.cached);
    let mut warm_loads = Vec::new();
    let mut code_ms = Vec::new();
    for _ in 0..21 {
        let (warm, elapsed) = load(&engine, guest("ping-0.1")).await;
        assert!(warm.code.cached);
        warm_loads.push(elapsed);
        code_ms.push(warm.code.micros as f64 / 1e3);
    }
    warm_loads.sort();
    code_ms.sort_by(f64::total_cmp);
    let half = warm_loads[10];
    eprintln!(
        "ping, {} KiB of code: loaded cold in {cold_load:.1?}, from the cache in {half:.1?} (fastest {:.1?}, slowest {:.1?}); \
         to code alone {:.1} ms cold, {:.1} ms from the cache",
        cold.code.bytes >> 10,
        warm_loads[0],
        warm_loads[20],
        cold.code.micros as f64 / 1e3,
        code_ms[10],
    );
    assert!(half < cold_load, "the cache is of use");
    // What is measured is the release build; on a busy machine the fastest says most.
    assert!(cfg!(debug_assertions) || warm_loads[0] < Duration::from_millis(5), "{warm_loads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_or_foreign_code_is_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = cached(folder.path());
    load(&engine, guest("counter")).await;
    assert_eq!(fs::metadata(folder.path().join("code")).expect("there").permissions().mode() & 0o777, 0o700);
    let [entry] = entries(folder.path()).try_into().expect("one entry");
    let whole = fs::read(&entry).expect("read");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("code") ^= 1;
    for damaged in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new(), whole[HEAD..].to_vec()] {
        fs::write(&entry, damaged).expect("written");
        assert!(!load(&engine, guest("counter")).await.0.code.cached);
        assert_eq!(fs::read(&entry).expect("read"), whole, "and it is as it was");
        assert!(load(&engine, guest("counter")).await.0.code.cached);
    }
    // The same content for another engine has another name.
    let fuel = Bench::start_with(PluginPolicy::default(), engine.clone(), weir_host::plugin::Preemption::Fuel);
    assert!(!fuel.load(guest("counter"), PluginSettings::default()).await.expect("loaded").code.cached);
    assert_eq!(entries(folder.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compiled_code_given_as_a_plugin_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = cached(folder.path());
    load(&engine, guest("counter")).await;
    let [entry] = entries(folder.path()).try_into().expect("one entry");
    let code = fs::read(entry).expect("read").split_off(HEAD);
    let bench = Bench::start(PluginPolicy::default(), engine);
    let error = bench.load(code, PluginSettings::default()).await.expect_err("refused");
    assert_eq!(error.code(), "compiled-code");
    assert!(error.to_string().contains("give the .wasm file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_compiles_and_is_held_to_its_limits() {
    let engine = with_program();
    let (info, _) = load(&engine, guest("counter")).await;
    assert!(!info.code.cached);
    let refuse = async |engine: EngineConfig, bytes: Vec<u8>| {
        let bench = Bench::start(PluginPolicy::default(), engine);
        bench.load(bytes, PluginSettings::default()).await.expect_err("refused")
    };
    let large = inflated(&guest("counter"), 3 << 20);
    let error = refuse(EngineConfig { time: Duration::from_secs(1), ..engine.clone() }, large.clone()).await;
    assert_eq!(error.code(), "compile-limit");
    assert!(error.to_string().contains("more than 1 s of CPU time; raise plugins.compile_time"), "{error}");
    let error = refuse(EngineConfig { memory: 96 << 20, ..engine.clone() }, large).await;
    assert_eq!(error.code(), "compile-limit", "{error}");
    assert!(error.to_string().contains("raise plugins.compile_memory"), "{error}");
    let mut broken = guest("counter");
    // Somewhere in the code of the last function.
    let at = broken.len() / 3;
    broken[at..at + 64].fill(0xff);
    let error = refuse(engine, broken).await;
    assert!(matches!(error.code(), "malformed" | "unlinkable" | "other-world"), "{}: {error}", error.code());
}

/// Compiles a component as large as a whole Python interpreter within the default limits. Eighteen megabytes of code take
/// minutes on a slow machine, so it is three unless `WEIR_LONG` is set; a real one can be named with `WEIR_PYTHON`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_limits_admit_a_python_interpreter() {
    let long = std::env::var_os("WEIR_LONG").is_some();
    let bytes = match std::env::var_os("WEIR_PYTHON") {
        Some(path) => fs::read(path).expect("a component"),
        None => inflated(&guest("counter"), if long { 18_000_000 } else { 3_000_000 }),
    };
    let size = bytes.len();
    let bench = Bench::start(PluginPolicy::default(), with_program());
    let began = Instant::now();
    let info = bench.load(bytes, PluginSettings::default()).await.expect("loaded");
    eprintln!(
        "{:.1} MB compiled by a process within the default limits in {:.1?}: {:.1} MB of code",
        size as f64 / 1e6,
        began.elapsed(),
        info.code.bytes as f64 / 1e6
    );
}

#[test]
fn a_node_keeps_what_it_compiled() -> Result<()> {
    let mut weir = Weir::start()?;
    let ping = guest_path("ping-0.1")?;
    let cached = |weir: &Weir| -> Result<bool> {
        let list = weir.json(&["plugin", "list"])?;
        list["plugins"][0]["code"]["cached"].as_bool().with_context(|| format!("{list}"))
    };
    weir.json(&["plugin", "load", "--save", ping.to_str().context("UTF-8")?])?;
    ensure!(!cached(&weir)?, "it was never compiled before");
    let folder = weir.folder().join("code");
    ensure!(fs::metadata(&folder)?.permissions().mode() & 0o777 == 0o700, "nobody else looks into it");
    weir.terminate()?;
    weir.run()?;
    ensure!(cached(&weir)?, "the second time it is not compiled");
    let [entry] = entries(weir.folder()).try_into().expect("one entry");
    let code = fs::read(&entry)?.split_off(HEAD);
    let foreign = weir.folder().join("ping.cwasm");
    fs::write(&foreign, code)?;
    let failed = weir.failure(&["plugin", "upgrade", "ping", foreign.to_str().context("UTF-8")?])?;
    ensure!(failed.code == "compiled-code", "{failed:?}");
    weir.terminate()?;
    weir.configure("plugins", &[("code_cache", "0")])?;
    weir.run()?;
    ensure!(!cached(&weir)?, "a cache of nothing keeps nothing");
    Ok(())
}
