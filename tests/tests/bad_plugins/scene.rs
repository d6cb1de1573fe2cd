//! The scene on which plugins misbehave: a node, another that floods its ping, and what must hold at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_host::config::Config;
use weir_host::plugin::{
    CrashKind, CrashReport, PluginError, PluginInfo, PluginSettings, PluginSource, PluginState, UpgradeReport,
};
use weir_host::protocol::{Delivery, Inbox, Network, ProtocolId, ProtocolSpec, SendError, native};
use weir_tests::node::{TestNode, source, until};

/// Messages that each misbehaving plugin gets, with the marked one in the middle.
pub(crate) const MESSAGES: usize = 200;
/// So many messages at a time; one flood follows the other for as long as a test runs.
const FLOOD: u64 = 20_000;
/// Most numbers to the counter that were sent and not handled: what is under test is no queue.
const AHEAD: u64 = 2_000;

/// The node under test, and one that floods its ping.
pub(crate) struct Scene {
    pub(crate) node: TestNode,
    pub(crate) flooder: TestNode,
    over: AtomicBool,
    /// Numbers sent to the counter.
    counted: AtomicU64,
}

/// A protocol of the node's guest, registered at the flooder too.
pub(crate) struct Line {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) id: ProtocolId,
    pub(crate) inbox: Inbox,
}

impl Scene {
    /// Plays while the flood runs; afterwards nothing of the flood may be missing.
    pub(crate) async fn play(scene: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::play_with(|_| {}, scene).await
    }

    /// The same, on a node whose configuration was changed.
    pub(crate) async fn play_with(
        change: impl FnOnce(&mut Config),
        scene: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let (node, flooder) = (TestNode::start_with(change).await?, TestNode::start().await?);
        node.load("ping-0.1").await?;
        flooder.load("ping-0.1").await?;
        flooder.connect(&node).await?;
        let this = Self { node, flooder, over: AtomicBool::new(false), counted: AtomicU64::new(0) };
        this.reaches("/ping/1.0.0").await?;
        let (sent, played) = tokio::join!(this.flood(), async {
            let played = match this.flows().await {
                Ok(()) => scene(&this).await,
                Err(error) => Err(error),
            };
            this.over.store(true, Ordering::Relaxed);
            played
        });
        played?;
        this.lost_nothing(sent?).await
    }

    /// Ping has handled the whole flood, each message once and in order, and never crashed.
    async fn lost_nothing(&self, sent: u64) -> Result<()> {
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

    pub(crate) async fn reaches(&self, protocol: &str) -> Result<ProtocolId> {
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

    /// A plugin as the operator sees it, if it is loaded.
    pub(crate) fn find(&self, plugin: &str) -> Option<PluginInfo> {
        self.node.host.plugins().list().into_iter().find(|info| info.name == plugin)
    }

    pub(crate) fn info(&self, plugin: &str) -> PluginInfo {
        self.find(plugin).expect("it is loaded")
    }

    fn flooded(&self) -> u64 {
        self.info("ping").counters.messages
    }

    /// The flood goes on at this very moment.
    pub(crate) async fn flows(&self) -> Result<()> {
        let before = self.flooded();
        until("the flood goes on", async || self.flooded() > before + 1_000).await
    }

    pub(crate) async fn stats(&self, plugin: &str) -> Result<Value> {
        self.node.call(plugin, "stats", json!({})).await
    }

    /// Registers the protocol of a guest at the flooder, when the guest is loaded.
    pub(crate) async fn line(&self, name: &str) -> Result<Line> {
        let (handler, inbox) = native(8);
        let id: ProtocolId = format!("/{name}/1").parse()?;
        let spec = ProtocolSpec { id: id.clone(), delivery: Delivery::Ordered, max_message: 1 << 16 };
        let network = self.flooder.host.network();
        network.register(spec, "test", handler)?;
        self.reaches(id.as_str()).await?;
        Ok(Line { network, id, inbox })
    }

    /// Sends one message to a guest, waiting for room.
    pub(crate) async fn say(&self, line: &Line, body: Vec<u8>) -> Result<()> {
        let mut outcome = Ok(());
        until("there is room for a message", async || {
            outcome = line.network.send(&self.node.host.peer_id(), &line.id, body.clone().into());
            outcome != Err(SendError::Busy)
        })
        .await?;
        outcome.with_context(|| format!("to {}", line.id))
    }

    /// Sends marked messages to a guest that survives them, each when the one before was handled.
    pub(crate) async fn provoke(&self, name: &str, line: &Line, times: u64) -> Result<PluginInfo> {
        for _ in 0..times {
            let before = self.info(name).counters.messages;
            self.say(line, b"poison".to_vec()).await?;
            until("it has handled it", async || self.info(name).counters.messages > before).await?;
        }
        let info = self.info(name);
        assert_eq!((info.state, info.counters.crashes, info.counters.dropped), (PluginState::Active, 0, 0));
        self.flows().await?;
        Ok(info)
    }

    /// Loads a guest, sends it messages with a marked one in the middle, and returns its crash report.
    pub(crate) async fn misbehave(&self, name: &str) -> Result<CrashReport> {
        self.misbehave_as(name, source(&name.replace('-', "_"), PluginSettings::default())?).await
    }

    /// The same with a file that is not as it was built.
    pub(crate) async fn misbehave_as(&self, name: &str, source: PluginSource) -> Result<CrashReport> {
        self.node.host.plugins().load(source).await.with_context(|| format!("loading {name}"))?;
        let line = self.line(name).await?;
        let flooded = self.flooded();
        self.send_marked(&line)?;
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

    fn send_marked(&self, line: &Line) -> Result<()> {
        let to = self.node.host.peer_id();
        for number in 0..MESSAGES {
            let body = if number == MESSAGES / 2 { "poison".to_owned() } else { format!("m-{number}") };
            line.network.send(&to, &line.id, body.into()).with_context(|| format!("message {number}"))?;
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

    /// What every report on a message must name.
    pub(crate) fn check_report(&self, name: &str, kind: CrashKind, report: &CrashReport) {
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

    /// Tries to load what cannot be loaded: why not, and that nothing of it is left.
    pub(crate) async fn refused(&self, source: PluginSource) -> Result<PluginError> {
        let (plugins, protocols) = (self.node.host.plugins(), self.node.host.protocols().len());
        let before = plugins.list().len();
        let error = plugins.load(source).await.err().context("it was loaded")?;
        assert_eq!((plugins.list().len(), self.node.host.protocols().len()), (before, protocols), "{error}");
        self.flows().await?;
        Ok(error)
    }

    /// Upgrades the counter while numbers come in for it: what came of that. Ends with all numbers handled.
    pub(crate) async fn upgrade_counter(&self, line: &Line, guest: &str) -> Result<Result<UpgradeReport, PluginError>> {
        let over = AtomicBool::new(false);
        let (numbers, upgraded) = tokio::join!(self.count_until(line, &over), async {
            let enough = self.counted.load(Ordering::Relaxed) + 100;
            let counting = until("the counter counts", async || self.counted.load(Ordering::Relaxed) > enough).await;
            let source = source(guest, PluginSettings::default());
            let upgraded = match (counting, source) {
                (Ok(()), Ok(source)) => Ok(self.node.host.plugins().upgrade("counter", source).await),
                (counting, source) => Err(counting.err().or(source.err()).expect("one of them failed")),
            };
            over.store(true, Ordering::Relaxed);
            upgraded
        });
        numbers?;
        let sent = self.counted.load(Ordering::Relaxed);
        until("all numbers are handled", async || self.info("counter").counters.messages >= sent).await?;
        assert_eq!(self.info("counter").counters.messages, sent);
        assert_eq!(self.info("counter").counters.dropped, 0);
        upgraded
    }

    async fn count_until(&self, line: &Line, over: &AtomicBool) -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let number = self.counted.load(Ordering::Relaxed);
            self.say(line, number.to_le_bytes().to_vec()).await?;
            self.counted.store(number + 1, Ordering::Relaxed);
            // Sending is not what is under test, so it stays within what a snapshot that loops holds up.
            let handled = || self.info("counter").counters.messages;
            if number.is_multiple_of(100) {
                until("the counter keeps up", async || handled() + AHEAD >= number || over.load(Ordering::Relaxed))
                    .await?;
            }
        }
        Ok(())
    }

    /// The counter saw every number once and in order.
    pub(crate) async fn counted_all(&self) -> Result<()> {
        let sent = self.counted.load(Ordering::Relaxed);
        assert_eq!(self.stats("counter").await?, json!({"seen": sent, "disordered": false}));
        Ok(())
    }

    /// Unloading takes no longer than it may, whatever the plugin does.
    pub(crate) async fn unloads(&self, name: &str) -> Result<()> {
        tokio::time::timeout(Duration::from_secs(8), self.node.host.plugins().unload(name)).await??;
        assert!(self.find(name).is_none());
        Ok(())
    }
}

/// The file of a guest.
pub(crate) fn file(guest: &str) -> Result<PluginSource> {
    source(guest, PluginSettings::default())
}
