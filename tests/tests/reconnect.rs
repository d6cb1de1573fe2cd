//! Real nodes that are found again: by another of several addresses, by what they said of themselves, after a restart.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use weir_host::config::Config;
use weir_host::host::{Environment, Host, HostConfig};
use weir_host::identity::NodeKey;
use weir_host::peer::{PeerAddr, PeerId};
use weir_host::runtime::{Runtime, SeededEntropy};
use weir_host::supervisor::Origin;
use weir_tests::node::{TestNode, until};

/// A node in a folder that outlives it.
async fn start(seed: u64, folder: &Path) -> Result<Host> {
    let key = Arc::new(NodeKey::generate(&SeededEntropy::from_seed(seed)));
    let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
    let (data_dir, runtime) = (folder.to_owned(), Runtime::system()?);
    Host::start(HostConfig { key, data_dir, config, runtime, environment: Environment::default() }).await
}

/// An address at which nobody answers, as long as the socket lives.
fn silent() -> Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

async fn connected(host: &Host, peer: PeerId) -> bool {
    host.peers().await.iter().any(|known| known.peer_id == peer && known.connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_address_of_a_peer_does_not_hold_up_the_right_one() -> Result<()> {
    let (a, b) = (TestNode::start().await?, TestNode::start().await?);
    let (_socket, nobody) = silent()?;
    let peer = b.host.peer_id();
    let since = Instant::now();
    // The silent one is named last, so it is tried first.
    a.host.add_peer(PeerAddr { peer, address: nobody }, true).await?;
    a.host.add_peer(b.address(), true).await?;
    until("connected", async || connected(&a.host, peer).await).await?;
    ensure!(since.elapsed() < Duration::from_secs(8), "the silent address has 10 s: {:?}", since.elapsed());
    let known = a.host.peers().await;
    let worked = known[0].known_addresses.iter().find(|known| known.worked).context("one worked")?;
    ensure!(worked.address == b.host.local_address() && worked.source == Origin::Operator, "{known:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_said_of_itself_is_remembered_across_a_restart_and_dialed() -> Result<()> {
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let a = start(1, folders[0].path()).await?;
    let b = start(2, folders[1].path()).await?;
    let (to_a, peer) = (PeerAddr { peer: a.peer_id(), address: a.local_address() }, b.peer_id());
    // It is b that dials: a knows nothing of b but what b's hello says.
    b.add_peer(to_a, false).await?;
    until("connected", async || connected(&a, peer).await).await?;
    let seen = a.peers().await;
    ensure!(
        seen[0].addresses == [b.local_address()] && seen[0].known_addresses[0].source == Origin::Record,
        "{seen:?}"
    );
    a.shutdown().await;
    drop(a);
    until("b has lost a", async || !connected(&b, to_a.peer).await).await?;
    let a = start(1, folders[0].path()).await?;
    let (_socket, nobody) = silent()?;
    a.add_peer(PeerAddr { peer, address: nobody }, true).await?;
    until("connected where b said it is", async || connected(&a, peer).await).await?;
    a.shutdown().await;
    b.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_at_one_address_is_reported_and_the_other_address_is_used() -> Result<()> {
    let (a, b, other) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    let wrong = PeerAddr { peer: b.host.peer_id(), address: other.host.local_address() };
    a.host.add_peer(wrong, true).await?;
    let error = async || a.host.peers().await.first().and_then(|known| known.last_error.clone());
    until("the error", async || error().await.is_some()).await?;
    let text = error().await.context("an error")?;
    ensure!(text.contains(&other.host.peer_id().to_string()) && text.contains(&wrong.address.to_string()), "{text}");
    ensure!(a.host.supervisor_stats().await.wrong_key >= 1, "counted");
    a.host.add_peer(b.address(), true).await?;
    until("connected", async || connected(&a.host, b.host.peer_id()).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_peer_is_no_hot_loop_and_is_joined_when_it_has_room() -> Result<()> {
    let full = TestNode::start_with(|config| config.limits.max_peers = 1).await?;
    let (first, second) = (TestNode::start().await?, TestNode::start().await?);
    first.host.add_peer(full.address(), false).await?;
    let peer = full.host.peer_id();
    until("the place is taken", async || connected(&first.host, peer).await).await?;
    let since = Instant::now();
    second.host.add_peer(full.address(), true).await?;
    let error = async || second.host.peers().await.first().and_then(|known| known.last_error.clone());
    until("refused three times", async || second.host.supervisor_stats().await.refused >= 3).await?;
    // 1 s and 2 s, each up to a fifth less.
    ensure!(since.elapsed() >= Duration::from_millis(2400), "three attempts in {:?}", since.elapsed());
    ensure!(error().await.is_some_and(|text| text.contains("1 of 1 peers")), "the reason is kept");
    ensure!(first.host.remove_peer(peer).await, "it was known");
    until("joined", async || connected(&second.host, peer).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_counts_as_a_failure_and_the_evicted_waits() -> Result<()> {
    let small = TestNode::start_with(|config| config.limits.max_peers = 1).await?;
    let (ordinary, wanted) = (TestNode::start().await?, TestNode::start().await?);
    ordinary.host.add_peer(small.address(), true).await?;
    let peer = small.host.peer_id();
    until("the place is taken", async || connected(&ordinary.host, peer).await).await?;
    small.host.add_peer(wanted.address(), true).await?;
    until("the wanted one has it", async || connected(&small.host, wanted.host.peer_id()).await).await?;
    until("the eviction is counted", async || ordinary.host.supervisor_stats().await.evicted == 1).await?;
    let stats = ordinary.host.supervisor_stats().await;
    ensure!(stats.attempts <= 2, "no attempt in the same moment: {stats:?}");
    let known = ordinary.host.peers().await;
    ensure!(known[0].last_error.is_some() && known[0].necessary, "{known:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_necessary_peer_that_is_added_as_ordinary_stays_connected_and_may_be_evicted() -> Result<()> {
    let full = |config: &mut Config| (config.limits.max_peers, config.limits.reserved_outbound) = (1, Some(0));
    let (a, b, c) = (TestNode::start_with(full).await?, TestNode::start().await?, TestNode::start().await?);
    a.connect(&b).await?;
    a.host.add_peer(b.address(), false).await?;
    ensure!(connected(&a.host, b.host.peer_id()).await, "it keeps its connection");
    // Only an ordinary peer makes room.
    a.host.add_peer(c.address(), true).await?;
    until("the necessary one has the place", async || connected(&a.host, c.host.peer_id()).await).await?;
    until("the ordinary one went", async || !connected(&a.host, b.host.peer_id()).await).await?;
    let known = a.host.peers().await;
    let necessary = known.iter().filter(|known| known.necessary).map(|known| known.peer_id).collect::<Vec<_>>();
    ensure!(necessary == [c.host.peer_id()], "{known:?}");
    Ok(())
}
