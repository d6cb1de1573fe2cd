//! gossipsub: nodes that are all connected to each other, of which one publishes signed messages.

use std::sync::Arc;
use std::time::Instant;

use ::libp2p::futures::StreamExt as _;
use ::libp2p::gossipsub::{
    Behaviour, ConfigBuilder, Event, IdentTopic, MessageAuthenticity, PublishError, ValidationMode,
};
use ::libp2p::identity::Keypair;
use ::libp2p::swarm::SwarmEvent;
use ::libp2p::{Multiaddr, PeerId, Swarm};
use anyhow::{Context as _, Result, anyhow};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{dial, listening};
use crate::ends::{Ends, Round};
use crate::tally::Tally;
use crate::work::Broadcast;

const TOPIC: &str = "weir-bench";
/// Messages that the slowest receiver may be behind. gossipsub drops what does not fit its queues of 5,000, so somebody
/// who wants all to arrive must not publish more; what waits there for a second is not forwarded any more.
const AHEAD: u64 = 256;

/// See the module.
pub struct Mesh {
    work: Broadcast,
    orders: mpsc::Sender<Order>,
    receivers: Vec<Arc<Counts>>,
    _nodes: JoinSet<()>,
}

/// So many messages, and whom to tell when they are published.
type Order = (u64, oneshot::Sender<Result<()>>);

/// What one node has seen.
#[derive(Default)]
struct Counts {
    messages: Tally,
    subscribers: Tally,
}

impl Counts {
    fn see(&self, event: &SwarmEvent<Event>) {
        match event {
            SwarmEvent::Behaviour(Event::Message { .. }) => self.messages.add(1),
            SwarmEvent::Behaviour(Event::Subscribed { .. }) => self.subscribers.add(1),
            _ => {}
        }
    }
}

impl Mesh {
    /// Starts all nodes and waits until each knows that all others have subscribed.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start(work: Broadcast) -> Result<Self> {
        let mut swarms: Vec<(Swarm<Behaviour>, Arc<Counts>)> = Vec::new();
        let mut known: Vec<(PeerId, Multiaddr)> = Vec::new();
        for _ in 0..work.nodes {
            let (mut swarm, address) = listening(behaviour).await?;
            swarm.behaviour_mut().subscribe(&IdentTopic::new(TOPIC))?;
            for (peer, address) in &known {
                swarm.dial(dial(*peer, address.clone()))?;
            }
            known.push((*swarm.local_peer_id(), address));
            swarms.push((swarm, Arc::default()));
        }
        let all: Vec<_> = swarms.iter().map(|(_, counts)| counts.clone()).collect();
        let (orders, ordered) = mpsc::channel(1);
        let (mut nodes, moved) = (JoinSet::new(), Arc::<Notify>::default());
        let mut swarms = swarms.into_iter();
        let (publisher, counts) = swarms.next().context("a publisher")?;
        let receivers = all[1..].to_vec();
        let publishing = Publishing { swarm: publisher, counts, receivers: receivers.clone(), moved: moved.clone() };
        nodes.spawn(publishing.run(ordered, work.size));
        for (swarm, counts) in swarms {
            nodes.spawn(receive(swarm, counts, moved.clone()));
        }
        for counts in &all {
            counts.subscribers.reach(work.nodes as u64 - 1).await.context("subscribers")?;
        }
        Ok(Self { work, orders, receivers, _nodes: nodes })
    }

    async fn broadcast(&mut self) -> Result<Vec<f64>> {
        let messages = self.work.messages;
        let wanted: Vec<_> = self.receivers.iter().map(|counts| counts.messages.come() + messages).collect();
        let (tell, told) = oneshot::channel();
        let began = Instant::now();
        self.orders.send((messages, tell)).await.ok().context("the publisher is gone")?;
        told.await.context("the publisher is gone")??;
        for (counts, wanted) in self.receivers.iter().zip(wanted) {
            counts.messages.reach(wanted).await?;
        }
        Ok(vec![messages as f64 / began.elapsed().as_secs_f64()])
    }
}

impl Ends for Mesh {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.broadcast())
    }
}

fn behaviour(key: &Keypair) -> Result<Behaviour> {
    let config = ConfigBuilder::default().validation_mode(ValidationMode::Strict).build()?;
    Behaviour::new(MessageAuthenticity::Signed(key.clone()), config).map_err(|error| anyhow!(error))
}

async fn receive(mut swarm: Swarm<Behaviour>, counts: Arc<Counts>, moved: Arc<Notify>) {
    loop {
        counts.see(&swarm.select_next_some().await);
        moved.notify_one();
    }
}

struct Publishing {
    swarm: Swarm<Behaviour>,
    counts: Arc<Counts>,
    receivers: Vec<Arc<Counts>>,
    /// A receiver has got on.
    moved: Arc<Notify>,
}

impl Publishing {
    async fn run(mut self, mut ordered: mpsc::Receiver<Order>, size: usize) {
        let (mut order, mut left, mut sent) = (None, 0, 0);
        loop {
            while left > 0 && sent < self.slowest() + AHEAD {
                match self.swarm.behaviour_mut().publish(IdentTopic::new(TOPIC), vec![7; size]) {
                    Ok(_) => (left, sent) = (left - 1, sent + 1),
                    Err(PublishError::AllQueuesFull(_)) => break,
                    Err(error) => {
                        left = 0;
                        tell(&mut order, Err(error.into()));
                    }
                }
            }
            if left == 0 {
                tell(&mut order, Ok(()));
            }
            tokio::select! {
                event = self.swarm.select_next_some() => self.counts.see(&event),
                next = ordered.recv(), if order.is_none() => match next {
                    Some((messages, done)) => (left, order) = (messages, Some(done)),
                    None => return,
                },
                () = self.moved.notified(), if left > 0 => {}
            }
        }
    }

    fn slowest(&self) -> u64 {
        self.receivers.iter().map(|counts| counts.messages.come()).min().unwrap_or_default()
    }
}

fn tell(order: &mut Option<oneshot::Sender<Result<()>>>, outcome: Result<()>) {
    // Who ordered may have given up.
    let _ = order.take().map(|done| done.send(outcome));
}
