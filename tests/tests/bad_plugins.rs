//! Plugins that misbehave on a real node while another plugin of it is flooded: what they break is theirs alone, and
//! the report names the plugin, the event, the peer and the place.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_host::plugin::{CrashKind, CrashReport, PluginInfo, PluginState};
use weir_host::protocol::{Delivery, Network, ProtocolId, ProtocolSpec, native};
use weir_tests::node::{TestNode, until};

/// Messages that each misbehaving plugin gets, with the marked one in the middle.
const MESSAGES: usize = 200;
/// So many messages at a time; one flood follows the other for as long as a test runs.
const FLOOD: u64 = 20_000;

/// The node under test, and one that floods its ping.
struct Scene {
    node: TestNode,
    flooder: TestNode,
    over: AtomicBool,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (node, flooder) = (TestNode::start().await?, TestNode::start().await?);
        node.load("ping-0.1").await?;
        flooder.load("ping-0.1").await?;
        flooder.connect(&node).await?;
        let scene = Self { node, flooder, over: AtomicBool::new(false) };
        scene.reaches("/ping/1.0.0").await?;
        Ok(scene)
    }

    async fn reaches(&self, protocol: &str) -> Result<ProtocolId> {
        let (network, to, id) = (self.flooder.host.network(), self.node.host.peer_id(), protocol.parse()?);
        until("the protocol can be reached", async || network.lane(&to, &id).is_ok()).await?;
        Ok(id)
    }

    /// Floods until the scene is over. How many messages that were.
    async fn flood(&self) -> Result<u64> {
        let mut sent = 0;
        while !self.over.load(Ordering::Relaxed) {
            let flood = json!({"peer": self.node.host.peer_id(), "count": FLOOD, "size": 256});
            self.flooder.call("ping", "flood", flood).await?;
            sent += FLOOD;
        }
        Ok(sent)
    }

    fn info(&self, plugin: &str) -> PluginInfo {
        let all = self.node.host.plugins().list();
        all.into_iter().find(|info| info.name == plugin).expect("it is loaded")
    }

    fn flooded(&self) -> u64 {
        self.info("ping").counters.messages
    }

    /// The flood goes on at this very moment.
    async fn flows(&self) -> Result<()> {
        let before = self.flooded();
        until("the flood goes on", async || self.flooded() > before + 1_000).await
    }

    async fn stats(&self, plugin: &str) -> Result<Value> {
        self.node.call(plugin, "stats", json!({})).await
    }

    /// Loads a guest, sends it messages with a marked one in the middle, and returns its crash report.
    async fn misbehave(&self, name: &str) -> Result<CrashReport> {
        self.node.load(&name.replace('-', "_")).await?;
        let (handler, _inbox) = native(8);
        let id: ProtocolId = format!("/{name}/1").parse()?;
        let spec = ProtocolSpec { id: id.clone(), delivery: Delivery::Ordered, max_message: 1 << 16 };
        let network = self.flooder.host.network();
        network.register(spec, "test", handler)?;
        self.reaches(id.as_str()).await?;
        let flooded = self.flooded();
        self.send(&*network, &id)?;
        until("the crash is reported", async || self.info(name).last_crash.is_some()).await?;
        // A trap takes no time, so nothing need have come meanwhile; a loop takes its whole budget.
        let meanwhile = self.flooded() - flooded;
        let slow = self.info(name).last_crash.is_some_and(|crash| crash.failure.kind == CrashKind::Timeout);
        assert!(!slow || meanwhile > 1_000, "{meanwhile} messages of the flood were handled while {name} looped");
        until("all others are handled", async || {
            self.info(name).counters.messages + 1 >= MESSAGES as u64 && self.stats(name).await.is_ok()
        })
        .await?;
        self.check_counts(name).await?;
        self.flows().await?;
        let info = self.info(name);
        assert_eq!((info.state, info.counters.dropped), (PluginState::Active, 1));
        let report = info.last_crash.context("a crash report")?;
        assert_eq!(info.last_error.as_deref(), Some(report.to_string().as_str()));
        Ok(report)
    }

    fn send(&self, network: &dyn Network, id: &ProtocolId) -> Result<()> {
        let to = self.node.host.peer_id();
        for number in 0..MESSAGES {
            let body = if number == MESSAGES / 2 { "poison".to_owned() } else { format!("m-{number}") };
            network.send(&to, id, body.into()).with_context(|| format!("message {number}"))?;
        }
        Ok(())
    }

    /// Every message but the marked one was handled exactly once, and the plugin was told of the one it lost.
    async fn check_counts(&self, name: &str) -> Result<()> {
        until("the loss is told", async || self.stats(name).await.is_ok_and(|stats| !stats["missed"].is_null()))
            .await?;
        let stats = self.stats(name).await?;
        for number in (0..MESSAGES).filter(|number| *number != MESSAGES / 2) {
            assert_eq!(stats[format!("m-{number}")], 1, "message {number} of {name} in {stats}");
        }
        assert_eq!((&stats["missed"], &stats["poison"]), (&json!(1), &Value::Null), "{name}");
        Ok(())
    }

    /// What every report must name.
    fn check_report(&self, name: &str, kind: CrashKind, report: &CrashReport) {
        assert_eq!(
            (report.plugin.as_str(), report.version.as_str(), report.event.as_str()),
            (name, "0.1.0", "message")
        );
        assert_eq!(report.failure.kind, kind);
        assert_eq!(report.revision, self.info(name).revision);
        assert_eq!(report.peer, Some(self.flooder.host.peer_id()));
        let text = report.to_string();
        let position = report.position.expect("a position");
        let peer = self.flooder.host.peer_id().short();
        let begins = format!(
            "plugin {name} 0.1.0 (revision {}) failed in message at position {position} of its batch from peer {peer}: ",
            report.revision
        );
        assert!(text.starts_with(&begins), "{text}");
    }

    /// Plays while the flood runs; afterwards nothing of the flood may be missing.
    async fn play(&self, scene: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let (sent, played) = tokio::join!(self.flood(), async {
            let played = match self.flows().await {
                Ok(()) => scene(self).await,
                Err(error) => Err(error),
            };
            self.over.store(true, Ordering::Relaxed);
            played
        });
        played?;
        let sent = sent?;
        until("the whole flood was handled", async || self.flooded() >= sent).await?;
        let stats = self.stats("ping").await?;
        assert_eq!(stats["messages"], sent, "{stats}");
        for never in ["lost", "reordered", "duplicated", "missed"] {
            assert_eq!(stats[never], 0, "{never} in {stats}");
        }
        assert_eq!(self.flooder.call("ping", "stats", json!({})).await?["undelivered"], 0);
        let pinged = json!({"peer": self.node.host.peer_id(), "count": 50});
        assert_eq!(self.flooder.call("ping", "ping", pinged).await?["answered"], 50, "the node lives");
        assert_eq!(self.info("ping").counters.crashes, 0);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_traps_costs_one_message_and_the_report_names_the_place() -> Result<()> {
    let name = "trap-on-message";
    let check = async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let text = report.to_string();
        assert!(text.contains("panicked at ") && text.contains("trap_on_message.rs:3:"), "{text}");
        assert!(text.contains("that was poison"), "{text}");
        Ok(())
    };
    Scene::start().await?.play(check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_loops_is_stopped_and_others_go_on_meanwhile() -> Result<()> {
    let name = "loop-forever";
    let check = async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Timeout, &report);
        let place = report.failure.backtrace.join(" < ");
        assert!(place.contains("loop_forever") || place.contains("handle"), "the report names a function: {report}");
        Ok(())
    };
    Scene::start().await?.play(check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_asks_for_a_gibibyte_is_refused_and_the_report_says_how_much() -> Result<()> {
    let name = "memory-eater";
    let check = async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let refused = report.failure.refused_memory.context("bytes that were refused")?;
        assert!(refused >= 1 << 30, "{refused}");
        assert!(report.to_string().contains("refused memory"), "{report}");
        Ok(())
    };
    Scene::start().await?.play(check).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_on_one_node_and_a_plugin_that_never_stops_crashing() -> Result<()> {
    let check = async |scene: &Scene| {
        for name in ["trap-on-message", "memory-eater", "loop-forever"] {
            scene.misbehave(name).await?;
        }
        let network = scene.flooder.host.network();
        let id = scene.reaches("/trap-on-message/1").await?;
        let poison = async || network.send(&scene.node.host.peer_id(), &id, "poison".into());
        until("it is quarantined", async || {
            // Refused once the protocol is gone, which is what is waited for.
            let _ = poison().await;
            scene.info("trap-on-message").state == PluginState::Quarantined
        })
        .await?;
        until("its peers know", async || poison().await.is_err()).await?;
        let error = scene.stats("trap-on-message").await.expect_err("it is quarantined");
        assert!(format!("{error:#}").contains("upgrade or unload"), "{error:#}");
        tokio::time::timeout(Duration::from_secs(5), scene.node.host.plugins().unload("trap-on-message")).await??;
        scene.flows().await
    };
    Scene::start().await?.play(check).await
}
