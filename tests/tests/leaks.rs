//! What loading, unloading and upgrading under traffic leaves behind: nothing. Memory, files, tasks, threads, mappings
//! and everything that the nodes count come back to where they were.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinHandle;
use weir_host::metrics::Kind;
use weir_host::plugin::PluginSettings;
use weir_host::protocol::{Delivery, ProtocolSpec, native};
use weir_tests::node::{PATIENCE, TestNode, source, until};
use weir_tests::process::resident;

/// Cycles before the first look, of so many: everything has happened once by then, pools and buffers have their size, and
/// what is remembered up to a bound, as the last 2,048 lanes of a peer and the last 1,000 lines of a log, is full before a
/// long time is looked at.
fn warm_up(cycles: usize) -> usize {
    (cycles / 4).clamp(30, 2_500)
}

/// Cycles between the two looks, unless `WEIR_CYCLES` says otherwise.
const CYCLES: usize = 200;
/// Bytes the allocator may have lent out more. Maps and queues keep their largest size, and both looks are taken of a
/// node that lives; what is lost once a cycle is more than this after 200 of them, or at the latest after 10,000.
const ALLOCATED: u64 = 256 << 10;
/// Bytes of memory the process may have more, when the allocator was asked to give back what it can: what is left lies in
/// pages of which some byte is in use.
const RESIDENT: u64 = 4 << 20;
/// Ranges of addresses the process may have more: the allocator's own.
const MAPPINGS: usize = 16;

/// What a process has, and what its nodes count.
struct Figures {
    allocated: u64,
    resident: u64,
    mappings: usize,
    /// What may not be more than it was: threads, files, tasks, and every gauge of the nodes.
    counts: BTreeMap<String, u64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |name: &str| self.counts.get(name).copied().unwrap_or(0);
        write!(
            f,
            "{} KiB allocated, {} KiB resident, {} mappings, {} threads, {} files, {} tasks",
            self.allocated >> 10,
            self.resident >> 10,
            self.mappings,
            of("threads"),
            of("files"),
            of("tasks")
        )
    }
}

impl Figures {
    async fn of(nodes: [&TestNode; 2]) -> Result<Self> {
        let entries = |folder| anyhow::Ok(std::fs::read_dir(folder)?.count() as u64);
        let mut counts = BTreeMap::from([
            ("threads".to_owned(), entries("/proc/self/task")?),
            ("files".to_owned(), entries("/proc/self/fd")?),
            ("tasks".to_owned(), tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64),
        ]);
        for (at, node) in nodes.into_iter().enumerate() {
            let gauges = node.host.metrics().await.into_iter().filter(|metric| metric.kind == Kind::Gauge);
            // The first moves by itself; what plugins hold in memory is seen by the whole.
            let moving = ["weir_uptime_seconds", "weir_plugin_memory_bytes", "weir_plugin_store_bytes"];
            for gauge in gauges.filter(|gauge| !moving.contains(&gauge.name)) {
                // A stream that rests goes from lent to parked to idle by and by, and is one stream all the time.
                let states = ["_idle", "_lent", "_parked", "_ending", "_opening"];
                let name = states.iter().find_map(|state| gauge.name.strip_suffix(state)).unwrap_or(gauge.name);
                *counts.entry(format!("node {at}: {name}")).or_default() += gauge.value;
            }
        }
        // SAFETY: it takes any number, and gives back memory that nobody uses.
        unsafe { libc::malloc_trim(0) };
        // SAFETY: it only reads the allocator's own books.
        let info = unsafe { libc::mallinfo2() };
        Ok(Self {
            allocated: (info.uordblks + info.hblkhd) as u64,
            resident: resident("self")?,
            mappings: std::fs::read_to_string("/proc/self/maps")?.lines().count(),
            counts,
        })
    }

    /// What keeps this from being what was before, if anything does.
    fn beyond(&self, before: &Self) -> Option<String> {
        let mut beyond = Vec::new();
        for (name, value) in &self.counts {
            let was = before.counts.get(name).copied().unwrap_or(0);
            // Less than before is what had nothing to do since; what is there all the time must be there still.
            let lasting = ["peers", "plugins", "protocols"].iter().any(|what| name.ends_with(&format!("weir_{what}")));
            if *value > was || (lasting && *value < was) {
                beyond.push(format!("{name} was {was} and is {value}"));
            }
        }
        let more = |what: &str, now: u64, was: u64, may: u64| {
            (now > was + may).then(|| format!("{what} grew by {} KiB, {} KiB may be", (now - was) >> 10, may >> 10))
        };
        beyond.extend(more("the heap", self.allocated, before.allocated, ALLOCATED));
        beyond.extend(more("resident memory", self.resident, before.resident, RESIDENT));
        if self.mappings > before.mappings + MAPPINGS {
            beyond.push(format!("there were {} mappings and are {}", before.mappings, self.mappings));
        }
        (!beyond.is_empty()).then(|| beyond.join("; "))
    }
}

/// Two nodes; the first has the plugin under test, the second sends to it all the time.
struct Scene {
    node: TestNode,
    peer: TestNode,
}

/// What the second node sends for as long as it is there.
struct Traffic {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (node, peer) = (TestNode::start().await?, TestNode::start().await?);
        for node in [&node, &peer] {
            node.load("ping-0.1").await?;
        }
        peer.connect(&node).await?;
        let (handler, _inbox) = native(8);
        let spec = ProtocolSpec { id: "/counter/1".parse()?, delivery: Delivery::Ordered, max_message: 1 << 16 };
        peer.host.network().register(spec, "test", handler)?;
        let (network, to, ping) = (peer.host.network(), node.host.peer_id(), "/ping/1.0.0".parse()?);
        until("ping can be reached", async || network.lane(&to, &ping).is_ok()).await?;
        Ok(Self { node, peer })
    }

    /// Numbers for the counter, for as long as somebody takes them, every millisecond.
    fn traffic(&self) -> Result<Traffic> {
        let (over, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (network, to, id) = (self.peer.host.network(), self.node.host.peer_id(), "/counter/1".parse()?);
        let (ended, count) = (over.clone(), sent.clone());
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(1));
            while !ended.load(Ordering::Relaxed) {
                beat.tick().await;
                for _ in 0..10 {
                    let body = vec![7; 256];
                    // Refused while the counter is not there: that is part of the traffic.
                    let taken = network.send(&to, &id, body.into()).is_ok();
                    count.fetch_add(u64::from(taken), Ordering::Relaxed);
                }
            }
        });
        Ok(Traffic { over, sent, task })
    }

    /// One flood of ping beside it, and its commands.
    async fn ping(&self) -> Result<()> {
        let to = self.node.host.peer_id();
        self.peer.call("ping", "flood", json!({"peer": to, "count": 200, "size": 1024})).await?;
        let answer = self.peer.call("ping", "ping", json!({"peer": to, "count": 5})).await?;
        ensure!(answer["answered"] == 5, "{answer}");
        Ok(())
    }

    async fn reload(&self) -> Result<()> {
        let plugins = self.node.host.plugins();
        self.node.load("counter").await?;
        let handled = || plugins.list().iter().any(|info| info.name == "counter" && info.counters.messages > 0);
        until("the counter counts", async || handled()).await?;
        self.ping().await?;
        self.node.call("counter", "stats", json!({})).await?;
        plugins.unload("counter").await?;
        Ok(())
    }

    async fn upgrade(&self, to: &str) -> Result<()> {
        let source = source(to, PluginSettings::default())?;
        self.node.host.plugins().upgrade("counter", source).await?;
        self.ping().await
    }

    async fn reloads(&self, cycles: usize) -> Result<()> {
        self.under_traffic(async || {
            for _ in 0..cycles {
                self.reload().await?;
            }
            Ok(())
        })
        .await
    }

    async fn upgrades(&self, cycles: usize) -> Result<()> {
        self.under_traffic(async || {
            self.node.load("counter").await?;
            for cycle in 0..cycles {
                self.upgrade(["counter_v2", "counter"][cycle % 2]).await?;
            }
            self.node.host.plugins().unload("counter").await?;
            Ok(())
        })
        .await
    }

    async fn under_traffic(&self, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let traffic = self.traffic()?;
        let worked = work().await;
        traffic.over.store(true, Ordering::Relaxed);
        traffic.task.await?;
        ensure!(traffic.sent.load(Ordering::Relaxed) > 0, "there was no traffic");
        worked
    }

    /// The figures once they no longer change by themselves.
    async fn at_rest(&self) -> Result<Figures> {
        let (mut last, deadline) = (Figures::of([&self.node, &self.peer]).await?, Instant::now() + PATIENCE);
        let mut same = 0;
        while same < 20 && Instant::now() < deadline {
            // Threads without work and streams without use end by themselves, the latter after some seconds.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Figures::of([&self.node, &self.peer]).await?;
            same = if now.counts == last.counts { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    /// Cycles, twice: what the second, longer time left behind.
    async fn look(&self, what: &str, cycles: usize, work: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
        work(warm_up(cycles)).await?;
        let before = self.at_rest().await?;
        let began = Instant::now();
        work(cycles).await?;
        let each = began.elapsed() / u32::try_from(cycles)?;
        let mut after = self.at_rest().await?;
        let deadline = Instant::now() + PATIENCE;
        while after.beyond(&before).is_some() && Instant::now() < deadline {
            after = self.at_rest().await?;
        }
        eprintln!("{cycles} {what}, {each:.1?} each\n  before: {before}\n  after:  {after}");
        match after.beyond(&before) {
            None => Ok(()),
            Some(beyond) => anyhow::bail!("after {cycles} {what}: {beyond}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_unloads_and_upgrades_under_traffic_leave_nothing_behind() -> Result<()> {
    let cycles = std::env::var("WEIR_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES);
    let scene = Scene::start().await?;
    scene.look("loads and unloads", cycles, async |cycles| scene.reloads(cycles).await).await?;
    scene.look("upgrades", cycles, async |cycles| scene.upgrades(cycles).await).await
}
