//! Two million messages through a plugin that is upgraded every fifty thousand: none lost, none reordered, none
//! twice, counted inside the plugin.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_host::plugin::PluginSettings;
use weir_tests::node::{TestNode, source, until};

const MESSAGES: u64 = 2_000_000;
const UPGRADE_EVERY: u64 = 50_000;

async fn two_nodes_with_ping() -> Result<(TestNode, TestNode)> {
    let (sender, receiver) = (TestNode::start().await?, TestNode::start().await?);
    sender.load("ping-0.1").await?;
    receiver.load("ping-0.1").await?;
    sender.connect(&receiver).await?;
    let network = sender.host.network();
    let (to, ping) = (receiver.host.peer_id(), "/ping/1.0.0".parse()?);
    until("ping can be reached", async || network.lane(&to, &ping).is_ok()).await?;
    Ok((sender, receiver))
}

fn handled(node: &TestNode) -> u64 {
    node.host.plugins().list().iter().map(|plugin| plugin.counters.messages).sum()
}

fn number(stats: &Value, key: &str) -> Result<u64> {
    stats[key].as_u64().with_context(|| format!("{key} in {stats}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_million_messages_survive_forty_upgrades() -> Result<()> {
    let (sender, receiver) = two_nodes_with_ping().await?;
    let began = Instant::now();
    let flood = json!({"peer": receiver.host.peer_id(), "count": MESSAGES, "size": 256});
    let (flooded, upgrades) = tokio::join!(
        sender.call_for("ping", "flood", flood, Duration::from_secs(600)),
        upgrade_now_and_then(&receiver)
    );
    let (flooded, pauses) = (flooded?, upgrades?);
    let elapsed = began.elapsed();
    let stats = receiver.call("ping", "stats", json!({})).await?;
    eprintln!(
        "{MESSAGES} messages in {elapsed:.1?} ({:.0}/s), {} upgrades, longest pause {:?}",
        MESSAGES as f64 / elapsed.as_secs_f64(),
        pauses.len(),
        pauses.iter().max()
    );
    assert_eq!(number(&stats, "messages")?, MESSAGES, "{stats}");
    for never in ["lost", "reordered", "duplicated", "missed"] {
        assert_eq!(number(&stats, never)?, 0, "{never} in {stats}");
    }
    let sent = sender.call("ping", "stats", json!({})).await?;
    assert_eq!(number(&sent, "undelivered")?, 0, "{sent}");
    let theirs = &stats["per_peer"][0]["floods"][0]["checksum"];
    assert_eq!(theirs, &flooded["checksum"], "the same content in the same order");
    ensure!(pauses.len() as u64 == MESSAGES / UPGRADE_EVERY - 1, "{} upgrades", pauses.len());
    Ok(())
}

/// Upgrades the receiver, to the other version, whenever so many more messages were handled.
async fn upgrade_now_and_then(receiver: &TestNode) -> Result<Vec<Duration>> {
    let mut pauses = Vec::new();
    let versions = ["ping-0.2", "ping-0.1"];
    for (at, version) in (1..MESSAGES / UPGRADE_EVERY).zip(versions.into_iter().cycle()) {
        until("the flood goes on", async || handled(receiver) >= at * UPGRADE_EVERY).await?;
        let source = source(version, PluginSettings::default())?;
        pauses.push(receiver.host.plugins().upgrade("ping", source).await?.pause);
    }
    until("all messages were handled", async || handled(receiver) >= MESSAGES).await?;
    Ok(pauses)
}
