//! Two plugins that never return from a message, and what another plugin and the network notice of them: with a turn
//! moved to threads of its own at its first tick, and without.
//!
//! The figures are of `WEIR_LOOPERS_REQUESTS` requests, 50 unless it is set: where loopers stay, each takes a fifth of a
//! second.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::oneshot;
use weir_host::host::Environment;
use weir_host::peer::PeerId;
use weir_host::plugin::Preemption;
use weir_host::protocol::{Delivery, Inbound, Inbox, NativeEvent, Network, Outgoing, ProtocolId, ProtocolSpec, native};
use weir_tests::node::{TestNode, until};

const ECHO: &str = "/echo/1";
const LOOPERS: [&str; 2] = ["loop-forever", "loop-too"];

/// How long requests took: half of them, and 99 of 100.
#[derive(Debug, Clone, Copy)]
struct Took {
    p50: Duration,
    p99: Duration,
}

fn requests() -> u64 {
    std::env::var("WEIR_LOOPERS_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

/// How long a loop may go on: longer than any measurement takes.
fn endless() -> Duration {
    Duration::from_secs(60 + 2 * requests())
}

fn spec(id: &str) -> ProtocolSpec {
    ProtocolSpec { id: id.parse().expect("an id"), delivery: Delivery::Ordered, max_message: 1 << 16 }
}

/// Answers requests with what they ask, in plain Rust.
async fn echo(network: Arc<dyn Network>, mut inbox: Inbox) {
    while let Some(event) = inbox.next().await {
        let NativeEvent::Batch(batch) = event else { continue };
        for item in batch.items {
            if let Inbound::Request { token, body, .. } = item {
                network.respond(token, Ok(body));
            }
        }
    }
}

/// Asks one after the other, in plain Rust.
async fn ask(network: &dyn Network, to: PeerId) -> Result<Took> {
    let id: ProtocolId = ECHO.parse()?;
    let mut took = Vec::new();
    for _ in 0..requests() {
        let (sender, answered) = oneshot::channel();
        let began = Instant::now();
        let what = Outgoing::Ask {
            id: network.next_ask(),
            timeout: Duration::from_secs(30),
            body: Bytes::from_static(b"hello"),
            reply: Box::new(move |outcome| {
                // Nobody listens any more when the measurement is over.
                let _ = sender.send(outcome.is_ok());
            }),
        };
        network.commit(&to, &id, vec![what]);
        ensure!(answered.await?, "an answer");
        took.push(began.elapsed());
    }
    took.sort();
    Ok(Took { p50: took[took.len() / 2], p99: took[took.len() * 99 / 100] })
}

/// The same from plugin to plugin.
async fn ping(node: &TestNode, to: PeerId) -> Result<Took> {
    let pinged = node.call_for("ping", "ping", json!({"peer": to, "count": requests(), "size": 64}), endless()).await?;
    ensure!(pinged["answered"] == requests(), "{pinged}");
    let time = |key: &str| pinged[key].as_u64().map(Duration::from_micros).context("a time");
    Ok(Took { p50: time("p50_us")?, p99: time("p99_us")? })
}

/// A node that runs on threads of its own, as it would in a process of its own.
struct Apart {
    node: Arc<TestNode>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Apart {
    async fn start(preemption: Preemption) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let environment = Environment { preemption, ..Environment::default() };
        let node = TestNode::start_in(environment, |config| config.plugins.max_turn_time = endless());
        let node = runtime.spawn(node).await??;
        Ok(Self { node: Arc::new(node), runtime: Some(runtime) })
    }

    /// Runs something on its threads.
    async fn run<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> Result<T> {
        Ok(self.runtime.as_ref().context("it runs")?.spawn(what).await?)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What plugins and the network take without loopers, and with two of them.
async fn measure(preemption: Preemption) -> Result<[(Took, Took); 2]> {
    let asker = TestNode::start().await?;
    let apart = Apart::start(preemption).await?;
    let node = apart.node.clone();
    let loaded = apart.run(async move {
        node.load("ping-0.1").await?;
        for looper in LOOPERS {
            node.load(&looper.replace('-', "_")).await?;
        }
        let (handler, inbox) = native(8);
        node.host.network().register(spec(ECHO), "test", handler)?;
        tokio::spawn(echo(node.host.network(), inbox));
        anyhow::Ok(())
    });
    loaded.await??;
    asker.load("ping-0.1").await?;
    let network = asker.host.network();
    let mut inboxes = Vec::new();
    for name in [ECHO.to_owned()].into_iter().chain(LOOPERS.map(|looper| format!("/{looper}/1"))) {
        let (handler, inbox) = native(8);
        network.register(spec(&name), "test", handler)?;
        inboxes.push(inbox);
    }
    asker.connect(&apart.node).await?;
    let to = apart.node.host.peer_id();
    for name in [ECHO, "/ping/1.0.0", "/loop-forever/1", "/loop-too/1"] {
        let id = name.parse()?;
        until("the protocol can be reached", async || network.lane(&to, &id).is_ok()).await?;
    }
    let quiet = (ping(&asker, to).await?, ask(&*network, to).await?);
    for looper in LOOPERS {
        network.send(&to, &format!("/{looper}/1").parse()?, Bytes::from_static(b"poison"))?;
    }
    // A loop begins when its message has come, which is soon after; then it goes on for long.
    let before = weir_tests::process::cpu_time("self")?;
    until("they loop", async || {
        weir_tests::process::cpu_time("self").is_ok_and(|now| now > before + Duration::from_millis(400))
    })
    .await?;
    let beside = (ping(&asker, to).await?, ask(&*network, to).await?);
    for looper in LOOPERS {
        let plugins = apart.node.host.plugins().list();
        let info = plugins.into_iter().find(|info| info.name == looper).context("it is loaded")?;
        ensure!(info.counters.crashes == 0, "{looper} still loops");
    }
    Ok([quiet, beside])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endless_loopers_cost_others_little_because_they_are_moved() -> Result<()> {
    let moved = measure(Preemption::Epochs).await?;
    let in_place = measure(Preemption::EpochsInPlace).await?;
    let show = |name: &str, [quiet, beside]: [(Took, Took); 2]| {
        eprintln!("{name}");
        for (what, (plugin, network)) in [("without loopers", quiet), ("with two", beside)] {
            eprintln!(
                "  {what}: plugin to plugin p50 {:.1?} p99 {:.1?}; network alone p50 {:.1?} p99 {:.1?}",
                plugin.p50, plugin.p99, network.p50, network.p99
            );
        }
    };
    eprintln!("round trips of {} requests, one after the other", requests());
    show("turns stay where they began (before):", in_place);
    show("turns are moved at their first tick (as a node runs):", moved);
    let (of_moved, of_in_place) = (moved[1].0, in_place[1].0);
    ensure!(of_moved.p50 < of_in_place.p50, "moving is of use: {of_moved:?} against {of_in_place:?}");
    Ok(())
}
