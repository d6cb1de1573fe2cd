//! Paths that die without a word, and live ones without traffic: real nodes, with a relay between them.
//!
//! The time that is promised (docs/configuration.md): `idle` + `keep_alive`, for each side and every kind of cut.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, timeout};
use weir_host::config::Config;
use weir_host::peer::{PeerAddr, PeerId};
use weir_host::protocol::{Inbox, NativeEvent, News, ProtocolId, ProtocolSpec, native};
use weir_tests::node::{PATIENCE, TestNode, until};
use weir_tests::relay::{Cut, Relay};

const IDLE: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// What is promised.
const NOTICED: Duration = Duration::from_secs(3);
/// What a loaded machine may add.
const MARGIN: Duration = Duration::from_secs(3);

fn quick(config: &mut Config) {
    (config.timeouts.idle, config.timeouts.keep_alive) = (IDLE, KEEP_ALIVE);
}

fn protocol() -> Result<ProtocolId> {
    Ok("/path/1.0.0".parse()?)
}

fn register(node: &TestNode) -> Result<Inbox> {
    let (handler, inbox) = native(8);
    let spec = ProtocolSpec { id: protocol()?, delivery: Default::default(), max_message: 1 << 10 };
    node.host.network().register(spec, "path", handler)?;
    Ok(inbox)
}

async fn supported(inbox: &mut Inbox, peer: PeerId) -> Result<()> {
    let heard = async {
        while let Some(event) = inbox.next().await {
            if matches!(event, NativeEvent::News(News::Supported { peer: who, .. }) if who == peer) {
                return Ok(());
            }
        }
        anyhow::bail!("unregistered")
    };
    timeout(PATIENCE, heard).await.context("never connected")?
}

/// How long until the handler hears that the peer is gone.
async fn gone(inbox: &mut Inbox, since: Instant) -> Result<Duration> {
    while let Some(event) = inbox.next().await {
        if matches!(event, NativeEvent::News(News::Unsupported { .. })) {
            return Ok(since.elapsed());
        }
    }
    anyhow::bail!("unregistered")
}

struct Pair {
    dialer: TestNode,
    listener: TestNode,
    relay: Relay,
    at_dialer: Inbox,
    at_listener: Inbox,
}

impl Pair {
    async fn start(necessary: bool) -> Result<Self> {
        let (dialer, listener) = (TestNode::start_with(quick).await?, TestNode::start_with(quick).await?);
        let (mut at_dialer, mut at_listener) = (register(&dialer)?, register(&listener)?);
        let relay = Relay::start(listener.host.local_address()).await?;
        let to = PeerAddr { peer: listener.host.peer_id(), address: relay.address() };
        dialer.host.add_peer(to, necessary).await?;
        supported(&mut at_dialer, listener.host.peer_id()).await?;
        supported(&mut at_listener, dialer.host.peer_id()).await?;
        Ok(Self { dialer, listener, relay, at_dialer, at_listener })
    }

    /// How long each side takes to notice: dialer, listener.
    async fn cut(&mut self, what: Cut) -> Result<(Duration, Duration)> {
        let since = Instant::now();
        self.relay.cut(what);
        let both = async { tokio::join!(gone(&mut self.at_dialer, since), gone(&mut self.at_listener, since)) };
        let (dialer, listener) = timeout(PATIENCE, both).await.context("one side never noticed")?;
        Ok((dialer?, listener?))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_path_is_noticed_by_both_sides_within_idle_and_keep_alive() -> Result<()> {
    let (dialer, listener) = Pair::start(false).await?.cut(Cut::Both).await?;
    ensure!(dialer <= NOTICED + MARGIN && listener <= NOTICED + MARGIN, "{dialer:?}, {listener:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_dead_in_one_direction_is_noticed_by_both_sides_as_soon() -> Result<()> {
    for what in [Cut::ToListener, Cut::ToDialer] {
        let (dialer, listener) = Pair::start(false).await?.cut(what).await?;
        ensure!(dialer <= NOTICED + MARGIN && listener <= NOTICED + MARGIN, "{what:?}: {dialer:?}, {listener:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_connection_without_traffic_stays_up() -> Result<()> {
    let mut pair = Pair::start(false).await?;
    let since = Instant::now();
    let either = async {
        tokio::select! {
            gone = gone(&mut pair.at_dialer, since) => gone,
            gone = gone(&mut pair.at_listener, since) => gone,
        }
    };
    let lost = timeout(4 * IDLE, either).await;
    ensure!(lost.is_err(), "lost after {lost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_necessary_peer_comes_back_when_its_path_does() -> Result<()> {
    let mut pair = Pair::start(true).await?;
    pair.cut(Cut::Both).await?;
    pair.relay.heal();
    let (who, dialer) = (pair.listener.host.peer_id(), pair.dialer.host.clone());
    until("connected again", async || dialer.peers().await.iter().any(|peer| peer.peer_id == who && peer.connected))
        .await?;
    let stats = dialer.supervisor_stats().await;
    ensure!(stats.attempts >= 2 && stats.records >= 1, "{stats:?}");
    Ok(())
}
