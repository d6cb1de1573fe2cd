//! Messages that one node publishes and all others get, by the SDK's gossip: signed one by one, and many under one
//! signature.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;
use weir_plugin_spread::{Awaited, PublishArgs, Published, WaitArgs};

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::SpreadNode;

const SIZE: u32 = 256;
/// Messages of a Merkle tree: 16 KiB together, which is worth a signature and little to lose.
const BATCH: u32 = 64;

/// How many nodes, and how many messages in a round: signed one by one, and together.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast {
    /// The publisher among them. Each is connected with each other.
    pub nodes: usize,
    /// See the type.
    pub messages: [u64; 2],
    /// In this order, too.
    pub rows: [&'static str; 2],
}

struct Spreading {
    work: Broadcast,
    publisher: SpreadNode,
    others: Vec<std::sync::Arc<SpreadNode>>,
    /// Messages so far.
    published: u64,
}

impl Broadcast {
    pub(super) fn scaled(self, scale: f64) -> Self {
        Self { messages: self.messages.map(|messages| share(messages, scale)), ..self }
    }

    pub(super) async fn case(self) -> Result<Case> {
        let rows = self.rows.map(|name| Row { name, unit: Unit::MessagesPerSecond }).to_vec();
        Ok(Case { rows, ways: vec![(Way::Plugin, Box::new(Spreading::start(self).await?))] })
    }
}

impl Spreading {
    async fn start(work: Broadcast) -> Result<Self> {
        let mut nodes: Vec<SpreadNode> = Vec::new();
        for _ in 0..work.nodes {
            let node = SpreadNode::start().await?;
            for other in &nodes {
                node.connect(other).await?;
            }
            nodes.push(node);
        }
        for node in &nodes {
            node.joins().await?;
        }
        let Some(publisher) = nodes.pop() else { bail!("a broadcast takes two nodes") };
        let others = nodes.into_iter().map(std::sync::Arc::new).collect();
        Ok(Self { work, publisher, others, published: 0 })
    }

    /// Publishes so many, so many under each signature; messages a second that have reached all.
    async fn publish(&mut self, count: u64, batch: u32) -> Result<f64> {
        self.published += count;
        let wanted = WaitArgs { delivered: self.published };
        let (began, mut waiting) = (Instant::now(), JoinSet::new());
        for other in &self.others {
            let other = other.clone();
            waiting.spawn(async move { other.call::<Awaited>("wait", &wanted).await });
        }
        let published: Published = self.publisher.call("publish", &PublishArgs { count, size: SIZE, batch }).await?;
        while let Some(awaited) = waiting.join_next().await {
            let Awaited { delivered } = awaited??;
            ensure!(delivered == self.published, "{delivered} of {} messages were delivered", self.published);
        }
        Ok(published.messages as f64 / began.elapsed().as_secs_f64())
    }

    async fn both(&mut self) -> Result<Vec<f64>> {
        let [alone, together] = self.work.messages;
        Ok(vec![self.publish(alone, 1).await?, self.publish(together, BATCH).await?])
    }
}

impl Ends for Spreading {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.both())
    }
}
