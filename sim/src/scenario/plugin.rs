//! A real plugin, upgraded in the middle of a flood.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use weir_host::plugin::{Caller, PluginSettings, PluginSource};

use super::Scenario;
use crate::machine::Node;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const UPGRADE: Scenario = Scenario {
    name: "plugin_upgrade",
    about: "ping.wasm with counted instructions, upgraded and rolled back in the middle of a flood: nothing lost, in order; then the power is cut",
    weight: 1,
    needs_plugins: true,
    world,
    play,
};

/// Names the folder with the built guests, as for the end-to-end tests.
const GUESTS: &str = "WEIR_TEST_GUESTS";
/// Upgrades of one run; each compiles, which takes more real time than all the rest.
const MOST_SWAPS: usize = 3;
const CALL: Duration = Duration::from_secs(120);

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup { max_message: 1 << 20, ..Setup::new(seed, 2) }, trace)
}

/// Whether the guests are there that scenarios load.
pub fn available() -> bool {
    let all = ["ping-0.1.wasm", "ping-0.2.wasm", "poisonable.wasm"];
    std::env::var_os(GUESTS).map(PathBuf::from).is_some_and(|folder| all.iter().all(|file| folder.join(file).is_file()))
}

fn source(world: &World, version: &str) -> Outcome<PluginSource> {
    let bytes = guest(world, &format!("ping-{version}"))?;
    // The path is the machine's own and has no place in a trace.
    Ok(PluginSource { bytes, path: None, settings: PluginSettings::default() })
}

/// The file of a guest that was built for the tests.
pub(super) fn guest(world: &World, name: &str) -> Outcome<Vec<u8>> {
    let missing = |why: String| world.violation("the guests are built", format!("{why}; run `cargo xtask guests`"));
    let folder = std::env::var_os(GUESTS).map(PathBuf::from);
    let path = folder.ok_or_else(|| missing(format!("{GUESTS} is not set")))?.join(format!("{name}.wasm"));
    std::fs::read(&path).map_err(|error| missing(format!("{}: {error}", path.display())))
}

async fn call(node: Rc<Node>, command: &'static str, body: Value) -> Result<Value, String> {
    let body = body.to_string().into();
    let caller = Caller::Operator("simulation".into());
    let answer = node.host.plugins().call("ping", command, body, caller, CALL).await;
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

fn play(world: &mut World) -> Outcome {
    let (old, new) = (source(world, "0.1")?, source(world, "0.2")?);
    world.step("start");
    world.boot_all(&[0, 1])?;
    world.mesh(&[0, 1]);
    for node in [0, 1] {
        let first = old.clone();
        let loaded = world.call(node, move |node| async move { node.host.plugins().load(first).await })?;
        loaded.map_err(|error| world.violation("a plugin can be loaded", error.to_string()))?;
    }
    world.settle(Duration::from_secs(20))?;
    world.step("flood");
    let (count, size) = (world.draw(2_000..=20_000), world.draw(24..=400));
    let most = world.draw_ms(5..=60);
    world.set_latency(most);
    let peer = world.machines[1].directory()[1].to_string();
    let flood = Rc::new(std::cell::RefCell::new(None));
    let into = flood.clone();
    world.post(0, move |node| async move {
        let done = call(node, "flood", json!({"peer": peer, "count": count, "size": size})).await;
        into.borrow_mut().replace(done);
    });
    let (mut swaps, mut is_new) = (0, [false; 2]);
    while flood.borrow().is_none() || swaps == 0 {
        let time = world.draw_ms(5..=300);
        world.run_for(time)?;
        let node = world.pick(&[0, 1, 1]);
        if swaps < MOST_SWAPS {
            let next = if is_new[node] { old.clone() } else { new.clone() };
            is_new[node] = !is_new[node];
            world.step("upgrade");
            let swapped =
                world.call(node, move |node| async move { node.host.plugins().upgrade("ping", next).await })?;
            let report = swapped.map_err(|error| world.violation("a plugin can be upgraded", error.to_string()))?;
            let (name, version) = (&world.machines[node].name, report.plugin.version);
            world.trace.note(name, format_args!("ping {} is {version} now", report.from_version));
        }
        swaps += 1;
    }
    let done = flood.borrow_mut().take().unwrap_or_else(|| Err("no answer".into()));
    let done = done.map_err(|error| world.violation("a flood comes to its end", error))?;
    world.trace.note("n0", format_args!("flood done {done}"));
    world.step("calm");
    world.settle(Duration::from_secs(60))?;
    let before = stats(world)?;
    check(world, &before, count)?;
    survives(world, &new, count)
}

fn stats(world: &mut World) -> Outcome<Value> {
    let stats = world.call(1, |node| call(node, "stats", json!({})))?;
    let stats = stats.map_err(|error| world.violation("a plugin answers", error))?;
    world.trace.note("n1", format_args!("stats {stats}"));
    Ok(stats)
}

/// An answer waits for the disk: what it said is still so after the power was cut, and what came after it is there up
/// to some moment, which is less than what was sent.
fn survives(world: &mut World, plugin: &PluginSource, count: u64) -> Outcome {
    world.step("crash");
    let more = world.draw(500..=2_000);
    let peer = world.machines[1].directory()[1].to_string();
    world.post(0, move |node| async move {
        // It ends with the connection, one way or the other.
        let _ = call(node, "flood", json!({"peer": peer, "count": more, "size": 64})).await;
    });
    let time = world.draw_ms(0..=200);
    world.run_for(time)?;
    world.crash(1);
    world.boot(1)?;
    let again = plugin.clone();
    let loaded = world.call(1, move |node| async move { node.host.plugins().load(again).await })?;
    loaded.map_err(|error| world.violation("a plugin can be loaded", error.to_string()))?;
    let messages = stats(world)?["messages"].as_u64().unwrap_or_default();
    if messages < count || messages > count + more {
        let detail = format!("{count} were answered, {more} more sent, {messages} are left");
        return Err(world.violation("a crash loses nothing that was answered", detail));
    }
    world.settle(Duration::from_secs(90))
}

/// Everything arrived, once and in order.
fn check(world: &World, stats: &Value, count: u64) -> Outcome {
    let wrong = ["lost", "reordered", "duplicated", "missed"].into_iter().any(|key| stats[key].as_u64() != Some(0));
    if wrong || stats["messages"].as_u64() != Some(count) {
        return Err(world.violation("an upgrade loses nothing", format!("{count} sent, {stats}")));
    }
    Ok(())
}
