//! Guests that do too much of what each of them may do: effects, messages, log lines, writes, timers.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_host::plugin::{CrashKind, PluginPolicy, PluginState};
use weir_host::protocol::{Inbound, NativeEvent};
use weir_tests::node::{PATIENCE, until};

use super::scene::{Line, Scene};

fn number(stats: &Value, key: &str) -> Result<u64> {
    stats[key].as_u64().with_context(|| format!("{key} in {stats}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn action_flood() -> Result<()> {
    let name = "action-flood";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let most = PluginPolicy::default().turn_effects;
        let reason = format!("a turn may stage at most {most} effects and this one staged more");
        assert_eq!(report.failure.reason, reason);
        // The turn was not committed, so none of its verdicts counts.
        assert_eq!(scene.info(name).counters.reports, 0);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn send_flood() -> Result<()> {
    let name = "send-flood";
    Scene::play(async |scene: &Scene| {
        scene.node.load("send_flood").await?;
        let mut line = scene.line(name).await?;
        scene.provoke(name, &line, 3).await?;
        let stats = scene.stats(name).await?;
        let [sent, busy, over] = [number(&stats, "sent")?, number(&stats, "busy")?, number(&stats, "over-budget")?];
        // Nobody reads yet: what was taken fits the lane, what was not was refused, and no attempt is unaccounted for.
        assert_eq!(sent + busy + over, 3 * 3_000, "{stats}");
        assert!(sent > 0 && busy > 0, "{stats}");
        let most = u64::from(PluginPolicy::default().turn_bytes);
        assert!(sent << 10 <= 3 * most, "{stats}");
        assert_eq!(received(&mut line, sent).await?, sent);
        Ok(())
    })
    .await
}

/// Reads until so many messages have come.
async fn received(line: &mut Line, expected: u64) -> Result<u64> {
    let mut received = 0;
    while received < expected {
        let event = tokio::time::timeout(PATIENCE, line.inbox.next()).await?.context("the inbox is open")?;
        if let NativeEvent::Batch(batch) = event {
            received += batch.items.iter().filter(|item| matches!(item, Inbound::Message(_))).count() as u64;
        }
    }
    Ok(received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn log_flood() -> Result<()> {
    let name = "log-flood";
    Scene::play(async |scene: &Scene| {
        scene.node.load("log_flood").await?;
        let line = scene.line(name).await?;
        let info = scene.provoke(name, &line, 2).await?;
        let lines = 2 * 100_000;
        let kept = lines - info.counters.log_lines_dropped;
        // So many at once, and then so many a second; the whole flood takes a few of these.
        assert!((u64::from(PluginPolicy::default().log_lines)..=lines / 20).contains(&kept), "{kept} lines were kept");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn store_flood() -> Result<()> {
    let (name, quota) = ("store-flood", 2 << 20);
    let small = |config: &mut weir_host::config::Config| config.plugins.max_store = quota;
    Scene::play_with(small, async |scene: &Scene| {
        scene.node.load("store_flood").await?;
        let line = scene.line(name).await?;
        let info = scene.provoke(name, &line, 3).await?;
        let stats = scene.stats(name).await?;
        let [stored, over, budget] =
            [number(&stats, "stored")?, number(&stats, "over-quota")?, number(&stats, "over-budget")?];
        assert_eq!(stored + over + budget, 3 * 10_000, "{stats}");
        assert!(over > 0 && stored << 12 > quota, "{stats}");
        assert!((quota / 2..=quota).contains(&info.counters.store_bytes), "{} bytes", info.counters.store_bytes);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn timer_flood() -> Result<()> {
    let name = "timer-flood";
    Scene::play(async |scene: &Scene| {
        scene.node.load("timer_flood").await?;
        let line = scene.line(name).await?;
        let most = u64::from(PluginPolicy::default().timers);
        let times = most / 1_000 + 2;
        scene.provoke(name, &line, times).await?;
        let stats = scene.stats(name).await?;
        assert_eq!((&stats["asked"], &stats["set"]), (&json!(times * 1_000), &json!(most)), "{stats}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn timer_storm() -> Result<()> {
    let name = "timer-storm";
    Scene::play(async |scene: &Scene| {
        scene.node.load("timer_storm").await?;
        let line = scene.line(name).await?;
        scene.provoke(name, &line, 1).await?;
        let before = scene.info(name).counters.events;
        until("the storm goes on", async || scene.info(name).counters.events > before + 10_000).await?;
        // It is heard and answers in the middle of it, and so does everybody else.
        scene.flows().await?;
        assert_eq!(number(&scene.stats(name).await?, "poison")?, 1);
        let info = scene.info(name);
        assert_eq!((info.state, info.counters.crashes), (PluginState::Active, 0));
        scene.unloads(name).await
    })
    .await
}
