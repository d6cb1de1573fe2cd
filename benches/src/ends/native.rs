//! A node with a handler in plain Rust, which counts messages and sends requests back.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use weir_host::peer::PeerId;
use weir_host::protocol::{
    Delivery, Inbound, Inbox, NativeEvent, Network, News, Outgoing, ProtocolId, ProtocolSpec, native,
};

use super::{Node, PATIENCE, Tally};

/// Batches that wait for the handler.
const INBOX: usize = 64;
/// Messages that are handed over at once.
const BATCH: usize = 256;

/// One protocol of a node.
struct Spoken {
    id: ProtocolId,
    /// Somebody's lane has room again.
    relieved: Arc<Notify>,
}

/// See the module.
pub struct NativeNode {
    /// The node.
    pub node: Node,
    /// Messages that came, by all protocols.
    pub received: Arc<Tally>,
    network: Arc<dyn Network>,
    protocols: Vec<Spoken>,
}

impl NativeNode {
    /// Starts a node and registers a handler for so many protocols.
    ///
    /// # Errors
    /// When either fails.
    pub async fn start(protocols: usize) -> Result<Self> {
        let protocols = (0..protocols).map(Self::protocol).collect::<Result<_>>()?;
        Self::speaking(Node::start().await?, protocols, Arc::default())
    }

    /// The protocol with this number.
    ///
    /// # Errors
    /// Never.
    pub fn protocol(number: usize) -> Result<ProtocolId> {
        Ok(format!("/bench-{number}/1").parse()?)
    }

    /// Registers a handler for each of these protocols, which counts there.
    ///
    /// # Errors
    /// When the node refuses one.
    pub fn speaking(node: Node, protocols: Vec<ProtocolId>, received: Arc<Tally>) -> Result<Self> {
        let network = node.host.network();
        let mut all = Vec::new();
        for (number, id) in protocols.into_iter().enumerate() {
            let (handler, inbox) = native(INBOX);
            let spec = ProtocolSpec { id: id.clone(), delivery: Delivery::Ordered, max_message: 1 << 20 };
            network.register(spec, &format!("bench-{number}"), handler)?;
            let relieved = Arc::new(Notify::new());
            tokio::spawn(handle(network.clone(), inbox, received.clone(), relieved.clone()));
            all.push(Spoken { id, relieved });
        }
        Ok(Self { node, received, network, protocols: all })
    }

    /// Keeps `other` connected.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn connect(&self, other: &Self) -> Result<()> {
        for protocol in &self.protocols {
            self.node.connect(&other.node, &protocol.id).await?;
        }
        Ok(())
    }

    /// Who it is.
    pub fn id(&self) -> PeerId {
        self.node.host.peer_id()
    }

    /// Sends by one of its protocols as fast as the lane takes it; ready when the lane has taken everything.
    ///
    /// # Errors
    /// When the peer cannot be reached.
    pub async fn flood(&self, to: PeerId, protocol: usize, count: u64, body: &Bytes) -> Result<()> {
        let Spoken { id, relieved } = &self.protocols[protocol];
        let mut left = count as usize;
        while left > 0 {
            let mut told = pin!(relieved.notified());
            told.as_mut().enable();
            let room = self.network.lane(&to, id)?.room;
            if room == 0 {
                self.network.wants_room(&to, id);
                tokio::time::timeout(PATIENCE, told).await.context("the lane has no room")?;
                continue;
            }
            let batch = left.min(BATCH).min(room.div_ceil(body.len().max(1)));
            let what = std::iter::repeat_with(|| Outgoing::Message(body.clone())).take(batch).collect();
            self.network.commit(&to, id, what);
            left -= batch;
            // Others get their turn, as between two turns of a plugin.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Asks by its first protocol with so many open at once: how long each answer took, and all together.
    ///
    /// # Errors
    /// When an answer does not come.
    pub async fn ask(
        &self,
        to: PeerId,
        count: usize,
        concurrency: usize,
        body: &Bytes,
    ) -> Result<(Vec<Duration>, Duration)> {
        let protocol = &self.protocols[0].id;
        let (answer, mut answers) = mpsc::channel(concurrency.max(1));
        let (began, mut took, mut asked) = (Instant::now(), Vec::with_capacity(count), 0);
        while took.len() < count {
            while asked < count && asked - took.len() < concurrency {
                let (answer, asked_at) = (answer.clone(), Instant::now());
                let reply = Box::new(move |outcome: Result<_, _>| {
                    // There is room for all that are open; nobody listens any more after an error.
                    let _ = answer.try_send(outcome.is_ok().then(|| asked_at.elapsed()));
                });
                let (id, timeout) = (self.network.next_ask(), PATIENCE);
                self.network.commit(&to, protocol, vec![Outgoing::Ask { id, timeout, body: body.clone(), reply }]);
                asked += 1;
            }
            let answered = answers.recv().await.context("the channel is open")?;
            took.push(answered.context("an ask failed")?);
        }
        ensure!(took.len() == count, "{} answers to {count} requests", took.len());
        Ok((took, began.elapsed()))
    }
}

async fn handle(network: Arc<dyn Network>, mut inbox: Inbox, received: Arc<Tally>, relieved: Arc<Notify>) {
    while let Some(event) = inbox.next().await {
        match event {
            NativeEvent::News(News::Relieved { .. }) => relieved.notify_waiters(),
            NativeEvent::News(_) => {}
            NativeEvent::Batch(batch) => {
                let mut messages = 0;
                for item in batch.items {
                    match item {
                        Inbound::Message(_) => messages += 1,
                        Inbound::Request { token, body, .. } => drop(network.respond(token, Ok(body))),
                    }
                }
                received.add(messages);
            }
        }
    }
}
