//! One real node with a thousand peers: all are admitted, all are told of a change, and what that costs is printed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_tests::node::guest_path;
use weir_tests::process::{at_rest, cpu_time, resident};
use weir_tests::raw::{Control, Hello, RawPeer};
use weir_tests::weir::Weir;

const PEERS: usize = 1000;
/// Handshakes at once: a crowd, and still below what the node lets wait.
const AT_ONCE: usize = 32;
/// How long the idle node is watched.
const IDLE: Duration = Duration::from_secs(10);
const PING: &str = "/ping/1.0.0";

fn secret(number: usize) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&(number as u64).to_le_bytes());
    secret
}

/// Connects all, a few at a time.
async fn connect(node: SocketAddr) -> Result<Vec<RawPeer>> {
    let (turns, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..PEERS {
        let turns = turns.clone();
        tasks.spawn(async move {
            let _turn = turns.acquire().await?;
            let hello = Hello::with(number as u64 + 1, &[PING]);
            let (peer, _) = RawPeer::admitted_as(node, secret(number), hello).await?;
            anyhow::Ok(peer)
        });
    }
    let mut peers = Vec::new();
    while let Some(peer) = tasks.join_next().await {
        peers.push(peer??);
    }
    Ok(peers)
}

/// Waits until the peer is told of a change, says that it has applied it, and when it heard.
async fn told(mut peer: RawPeer) -> Result<(RawPeer, Instant)> {
    let told = |message: &Control| match message {
        Control::Protocols { incarnation, sequence, .. } => Some((*incarnation, *sequence)),
        _ => None,
    };
    let (incarnation, sequence) = peer.hear_until(told).await?;
    let heard = Instant::now();
    peer.say(&Control::ProtocolsApplied { incarnation, sequence }).await?;
    Ok((peer, heard))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_peers_are_admitted_and_told() -> Result<()> {
    let mut node = Weir::init()?;
    node.configure("limits", &[("max_peers", "1000"), ("reserved_outbound", "0"), ("memory_limit", "\"64 GiB\"")])?;
    node.run()?;
    let (_, address) = node.address.split_once('@').context("an address")?;
    let address: SocketAddr = address.parse()?;
    let process = node.process().context("it runs")?;
    let empty = resident(process)?;
    let began = Instant::now();
    let peers = connect(address).await?;
    let connected = began.elapsed();
    let seen = node.json(&["peers"])?;
    let seen = seen["peers"].as_array().context("peers")?.iter().filter(|peer| peer["connected"] == true).count();
    ensure!(seen == PEERS, "the node sees {seen} connected peers");
    // Buffers of the handshakes are given back then, and nothing but keep-alives goes to and fro.
    at_rest(process).await?;
    let (full, cpu, idle) = (resident(process)?, cpu_time(process)?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let busy = (cpu_time(process)? - cpu).as_secs_f64() / idle.elapsed().as_secs_f64();

    let mut tasks = JoinSet::new();
    peers.into_iter().for_each(|peer| drop(tasks.spawn(told(peer))));
    let file = guest_path("ping-0.1")?;
    let loading = Instant::now();
    node.json(&["plugin", "load", file.to_str().context("a path")?])?;
    let (mut peers, mut heard) = (Vec::new(), Vec::new());
    while let Some(one) = tasks.join_next().await {
        let (peer, at) = one??;
        peers.push(peer);
        heard.push(at);
    }
    let (first, last) = (heard.iter().min().context("one")?, heard.iter().max().context("one")?);
    ensure!(heard.len() == PEERS, "{} were told", heard.len());
    eprintln!(
        "{PEERS} peers: connected in {connected:.2?} ({:.0} a second); {:.1} KiB of memory for each; {:.1} % of one \
         core when idle; one change told to all {:.1?} after the first ({:.0?} after `plugin load` was typed)",
        PEERS as f64 / connected.as_secs_f64(),
        full.saturating_sub(empty) as f64 / 1024.0 / PEERS as f64,
        100.0 * busy,
        *last - *first,
        *last - loading,
    );
    let protocols = node.json(&["protocols"])?;
    ensure!(protocols["protocols"][0]["peers"] == PEERS, "all support it, too: {protocols}");
    drop(peers);
    node.terminate()?;
    Ok(())
}
