//! libp2p-stream: streams of one protocol, through a control beside the swarm.

use std::sync::Arc;

use ::libp2p::futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use ::libp2p::swarm::SwarmEvent;
use ::libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use libp2p_stream::{Behaviour, Control, IncomingStreams};
use tokio::sync::mpsc;

use super::{dial, listening};
use crate::node::{Counting, Link, Node, Outgoing};
use crate::tally::Tally;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/weir-bench/1");
/// Bytes that are read at once.
const READ: usize = 64 << 10;

/// See the module.
pub struct StreamNode {
    peer: PeerId,
    address: Multiaddr,
    control: Control,
    orders: mpsc::Sender<Order>,
    linked: Arc<Tally>,
    received: Arc<Tally>,
}

/// What the task that drives the swarm is to do.
enum Order {
    Dial(PeerId, Multiaddr),
    Leave(PeerId),
}

/// See the module.
pub struct StreamLink {
    peer: PeerId,
    control: Control,
    orders: mpsc::Sender<Order>,
}

impl Node for StreamNode {
    type Link = StreamLink;

    async fn start() -> Result<Self> {
        let (swarm, address) = listening(|_| Ok(Behaviour::new())).await?;
        let (linked, received) = (Arc::<Tally>::default(), Arc::<Tally>::default());
        let (peer, mut control) = (*swarm.local_peer_id(), swarm.behaviour().new_control());
        let (orders, ordered) = mpsc::channel(1);
        tokio::spawn(accept(control.accept(PROTOCOL)?, received.clone()));
        tokio::spawn(drive(swarm, ordered, linked.clone()));
        Ok(Self { peer, address, control, orders, linked, received })
    }

    async fn connect(&self, to: &Self) -> Result<StreamLink> {
        let (here, there) = (self.linked.come() + 1, to.linked.come() + 1);
        self.orders.send(Order::Dial(to.peer, to.address.clone())).await.ok().context("the swarm is gone")?;
        self.linked.reach(here).await?;
        to.linked.reach(there).await?;
        Ok(StreamLink { peer: to.peer, control: self.control.clone(), orders: self.orders.clone() })
    }

    fn received(&self) -> &Arc<Tally> {
        &self.received
    }
}

impl Link for StreamLink {
    type Stream = Stream;

    async fn open(&self) -> Result<Stream> {
        Ok(self.control.clone().open_stream(self.peer, PROTOCOL).await?)
    }

    async fn close(self) -> Result<()> {
        self.orders.send(Order::Leave(self.peer)).await.ok().context("the swarm is gone")
    }
}

impl Outgoing for Stream {
    async fn send(&mut self, frame: &Bytes) -> Result<()> {
        Ok(self.write_all(frame).await?)
    }

    /// Waits until the other end has read it all. A stream that comes before its acceptor has taken the last one is
    /// dropped there without a word, so whoever wants nothing lost opens the next one only then.
    async fn finish(mut self) -> Result<()> {
        self.close().await?;
        self.read_exact(&mut [0]).await.context("the other end dropped a stream")
    }
}

/// Until the node and all its links are dropped.
async fn drive(mut swarm: Swarm<Behaviour>, mut ordered: mpsc::Receiver<Order>, linked: Arc<Tally>) {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => linked.add(1),
                SwarmEvent::OutgoingConnectionError { error, .. } => eprintln!("libp2p: {error}"),
                _ => {}
            },
            order = ordered.recv() => match order {
                Some(Order::Dial(peer, address)) => {
                    if let Err(error) = swarm.dial(dial(peer, address)) {
                        eprintln!("libp2p: {error}");
                    }
                }
                // It may be gone already.
                Some(Order::Leave(peer)) => _ = swarm.disconnect_peer_id(peer),
                None => return,
            },
        }
    }
}

async fn accept(mut incoming: IncomingStreams, received: Arc<Tally>) {
    while let Some((_, stream)) = incoming.next().await {
        tokio::spawn(count(stream, received.clone()));
    }
}

async fn count(mut stream: Stream, received: Arc<Tally>) {
    let (mut counting, mut buffer) = (Counting::new(received), vec![0; READ]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        counting.take([&buffer[..read]]);
    }
    // Who sent it may be gone.
    let _ = stream.write_all(&[0]).await;
    let _ = stream.close().await;
}
