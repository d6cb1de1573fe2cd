//! A plugin is upgraded again and again under as much load as two nodes in one process make: no message is lost,
//! reordered or handled twice, and what each upgrade held them up is shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_host::plugin::PluginSettings;
use weir_tests::node::{TestNode, source, until};

/// How much is done.
#[derive(Clone, Copy)]
struct Plan {
    upgrades: usize,
    /// Messages handled between two upgrades.
    between: u64,
    /// Messages of one flood; two run at once, so that the end of one is no pause of the load.
    flood: u64,
}

/// What the load must be for its figures to count, in messages a second.
const LOAD: f64 = 200_000.0;

struct Run {
    sender: TestNode,
    receiver: TestNode,
    over: AtomicBool,
    plan: Plan,
}

/// One upgrade.
struct Upgrade {
    pause: Duration,
    /// Messages a second, from the upgrade before to this one.
    load: f64,
}

/// What the sender says of its floods: how many messages in all, and the checksum of each.
#[derive(Default)]
struct Sent {
    messages: u64,
    checksums: BTreeMap<String, Value>,
}

impl Run {
    async fn start(plan: Plan) -> Result<Self> {
        let (sender, receiver) = (TestNode::start().await?, TestNode::start().await?);
        sender.load("ping-0.1").await?;
        receiver.load("ping-0.1").await?;
        sender.connect(&receiver).await?;
        let network = sender.host.network();
        let (to, ping) = (receiver.host.peer_id(), "/ping/1.0.0".parse()?);
        until("ping can be reached", async || network.lane(&to, &ping).is_ok()).await?;
        Ok(Self { sender, receiver, over: AtomicBool::new(false), plan })
    }

    fn handled(&self) -> u64 {
        self.receiver.host.plugins().list().iter().map(|plugin| plugin.counters.messages).sum()
    }

    /// One flood after the other until the upgrades are over. The last one is sent to its end.
    async fn flood(&self) -> Result<Sent> {
        let mut sent = Sent::default();
        while !self.over.load(Ordering::Relaxed) {
            let flood = json!({"peer": self.receiver.host.peer_id(), "count": self.plan.flood, "size": 256});
            let done = self.sender.call_for("ping", "flood", flood, Duration::from_secs(600)).await?;
            sent.messages += done["messages"].as_u64().context("messages")?;
            let name = done["flood"].as_str().context("the flood's name")?;
            sent.checksums.insert(name.to_owned(), done["checksum"].clone());
        }
        Ok(sent)
    }

    async fn upgrades(&self) -> Result<Vec<Upgrade>> {
        let mut upgrades = Vec::new();
        let versions = ["ping-0.2", "ping-0.1"];
        let (mut handled, mut since) = (self.handled(), Instant::now());
        for version in versions.into_iter().cycle().take(self.plan.upgrades) {
            until("the flood goes on", async || self.handled() >= handled + self.plan.between).await?;
            let load = (self.handled() - handled) as f64 / since.elapsed().as_secs_f64();
            (handled, since) = (self.handled(), Instant::now());
            let source = source(version, PluginSettings::default())?;
            let report = self.receiver.host.plugins().upgrade("ping", source).await?;
            ensure!(report.snapshot_skipped.is_none(), "{:?}", report.snapshot_skipped);
            upgrades.push(Upgrade { pause: report.pause, load });
        }
        Ok(upgrades)
    }

    /// Everything that was sent was handled once, in order, and with the content that was sent.
    async fn check(&self, sent: &Sent) -> Result<()> {
        until("all messages were handled", async || self.handled() >= sent.messages).await?;
        let stats = self.receiver.call("ping", "stats", json!({})).await?;
        ensure!(stats["messages"] == sent.messages, "{} sent, {stats}", sent.messages);
        for never in ["lost", "reordered", "duplicated", "missed"] {
            ensure!(stats[never] == 0, "{never} in {stats}");
        }
        let theirs = self.sender.call("ping", "stats", json!({})).await?;
        ensure!(theirs["undelivered"] == 0, "{theirs}");
        let floods = stats["per_peer"][0]["floods"].as_array().context("floods")?;
        // It remembers the latest ones.
        ensure!(floods.len() >= sent.checksums.len().min(8), "{stats}");
        for flood in floods {
            let name = flood["flood"].as_str().context("a name")?;
            ensure!(sent.checksums.get(name) == Some(&flood["checksum"]), "the content of flood {name}: {flood}");
        }
        Ok(())
    }
}

/// The value that `percent` of 100 do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1]
}

/// Upgrades so often; the load over the whole time, in messages a second.
async fn upgrade(plan: Plan) -> Result<f64> {
    let run = Run::start(plan).await?;
    let began = Instant::now();
    let (first, second, upgrades) = tokio::join!(run.flood(), run.flood(), async {
        let upgrades = run.upgrades().await;
        run.over.store(true, Ordering::Relaxed);
        (upgrades, run.handled() as f64 / began.elapsed().as_secs_f64())
    });
    let ((upgrades, load), mut sent, more) = ((upgrades.0?, upgrades.1), first?, second?);
    sent.messages += more.messages;
    sent.checksums.extend(more.checksums);
    run.check(&sent).await?;
    let mut pauses: Vec<_> = upgrades.iter().map(|upgrade| upgrade.pause).collect();
    pauses.sort_unstable();
    let mut loads: Vec<_> = upgrades.iter().map(|upgrade| upgrade.load).collect();
    loads.sort_unstable_by(f64::total_cmp);
    eprintln!(
        "{} upgrades under {load:.0} messages/s ({:.0} to {:.0} between two), {} messages: pause p50 {:?}, p99 {:?}, \
         longest {:?}",
        upgrades.len(),
        loads[0],
        loads[loads.len() - 1],
        sent.messages,
        percentile(&pauses, 50),
        percentile(&pauses, 99),
        pauses[pauses.len() - 1],
    );
    Ok(load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_upgrades_under_a_flood_lose_nothing() -> Result<()> {
    upgrade(Plan { upgrades: 10, between: 5_000, flood: 50_000 }).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "optimised, and with nothing else to do: `cargo xtask test --release --test upgrades -- --ignored --nocapture`"]
async fn a_hundred_upgrades_under_two_hundred_thousand_messages_a_second() -> Result<()> {
    let load = upgrade(Plan { upgrades: 100, between: 50_000, flood: 400_000 }).await?;
    ensure!(load >= LOAD, "the load was {load:.0} messages a second");
    Ok(())
}
