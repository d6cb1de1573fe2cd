//! Everybody who sends and everybody who counts, in each way.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::task::JoinSet;
use weir_host::transport::SendStream;
use weir_plugin_load::{FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::one_way::OneWay;
use crate::case::{Ends, Round};
use crate::ends::{NativeNode, PluginNode, Raw, RawNode, Tally};

/// Two buffers of this size are a chunk: as QUIC takes them without a copy.
const HALF_CHUNK: usize = 32 << 10;

/// A stream for each sender, receiver and protocol.
pub struct RawFlows {
    work: OneWay,
    /// What is written at once, and how often.
    piece: Vec<Bytes>,
    pieces: u64,
    streams: Vec<SendStream>,
    received: Arc<Tally>,
    _open: (Vec<RawNode>, Vec<Raw>),
}

impl RawFlows {
    pub(super) async fn start(work: OneWay, chunked: bool) -> Result<Self> {
        let nodes = |count| (0..count).map(|_| RawNode::start()).collect::<Result<Vec<_>>>();
        let (senders, mut receivers) = (nodes(work.senders)?, nodes(work.receivers)?);
        let received = Arc::<Tally>::default();
        let (mut streams, mut connections) = (Vec::new(), Vec::new());
        for sender in &senders {
            for receiver in &mut receivers {
                let mut raw = sender.connect(receiver).await?;
                for _ in 0..work.protocols {
                    streams.push(raw.stream(received.clone()).await?);
                }
                connections.push(raw);
            }
        }
        // The byte that opens each.
        received.reach(streams.len() as u64).await?;
        let half = || Bytes::from(vec![7; HALF_CHUNK]);
        let piece = if chunked { vec![half(), half()] } else { halves(work.body()) };
        let pieces =
            if chunked { (work.messages * work.size as u64).div_ceil(2 * HALF_CHUNK as u64) } else { work.messages };
        let nodes = senders.into_iter().chain(receivers).collect();
        Ok(Self { work, piece, pieces, streams, received, _open: (nodes, connections) })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let each: usize = self.piece.iter().map(Bytes::len).sum();
        let bytes = self.streams.len() as u64 * self.pieces * each as u64;
        let wanted = self.received.come() + bytes;
        let began = Instant::now();
        let mut sending = JoinSet::new();
        for mut stream in self.streams.drain(..) {
            let (piece, pieces) = (self.piece.clone(), self.pieces);
            sending.spawn(async move {
                for _ in 0..pieces {
                    match piece.as_slice() {
                        [one] => stream.write(&mut [one.clone()]).await?,
                        [one, other] => stream.write(&mut [one.clone(), other.clone()]).await?,
                        _ => stream.write(&mut piece.clone()).await?,
                    }
                }
                anyhow::Ok(stream)
            });
        }
        while let Some(sent) = sending.join_next().await {
            self.streams.push(sent??);
        }
        self.received.reach(wanted).await?;
        // What a chunk has too many does not count.
        let messages = bytes as f64 / self.work.size as f64;
        Ok(vec![messages / began.elapsed().as_secs_f64()])
    }
}

/// A message in pieces that QUIC takes without a copy.
fn halves(mut body: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while body.len() > HALF_CHUNK {
        pieces.push(body.split_to(HALF_CHUNK));
    }
    pieces.push(body);
    pieces
}

impl Ends for RawFlows {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

/// Starts everybody, and connects each sender with each receiver.
async fn mesh<N>(
    work: OneWay,
    start: impl AsyncFn() -> Result<N>,
    connect: impl AsyncFn(&N, &N) -> Result<()>,
) -> Result<(Vec<Arc<N>>, Vec<N>)> {
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..work.receivers {
        receivers.push(start().await?);
    }
    for _ in 0..work.senders {
        let sender = start().await?;
        for receiver in &receivers {
            connect(&sender, receiver).await?;
        }
        senders.push(Arc::new(sender));
    }
    Ok((senders, receivers))
}

/// Nodes with handlers in plain Rust.
pub struct NativeFlows {
    work: OneWay,
    senders: Vec<Arc<NativeNode>>,
    receivers: Vec<NativeNode>,
}

impl NativeFlows {
    pub(super) async fn start(work: OneWay) -> Result<Self> {
        let start = async || NativeNode::start(work.protocols).await;
        let (senders, receivers) = mesh(work, start, NativeNode::connect).await?;
        Ok(Self { work, senders, receivers })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let each = self.work.total() / self.receivers.len() as u64;
        let wanted: Vec<_> = self.receivers.iter().map(|receiver| receiver.received.come() + each).collect();
        let (began, mut sending) = (Instant::now(), JoinSet::new());
        for sender in &self.senders {
            for receiver in &self.receivers {
                for protocol in 0..self.work.protocols {
                    let (sender, to, work) = (sender.clone(), receiver.id(), self.work);
                    sending.spawn(async move { sender.flood(to, protocol, work.messages, &work.body()).await });
                }
            }
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        for (receiver, wanted) in self.receivers.iter().zip(wanted) {
            receiver.received.reach(wanted).await?;
        }
        Ok(self.work.rate(began))
    }
}

impl Ends for NativeFlows {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

/// Nodes with the plugin.
pub struct PluginFlows {
    work: OneWay,
    names: Vec<String>,
    senders: Vec<Arc<PluginNode>>,
    receivers: Vec<PluginNode>,
}

impl PluginFlows {
    pub(super) async fn start(work: OneWay) -> Result<Self> {
        let names: Vec<_> = (0..work.protocols).map(|number| format!("load-{number}")).collect();
        let start = async || PluginNode::start(&names).await;
        let (senders, receivers) = mesh(work, start, PluginNode::connect).await?;
        Ok(Self { work, names, senders, receivers })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let each = self.work.total() / self.receivers.len() as u64;
        let wanted: Vec<_> = self.receivers.iter().map(|receiver| receiver.handled() + each).collect();
        let peers: Vec<_> =
            self.receivers.iter().map(|receiver| PeerId::from_bytes(*receiver.id().as_bytes())).collect();
        let (began, mut sending) = (Instant::now(), JoinSet::new());
        for sender in &self.senders {
            for name in &self.names {
                let args = FloodArgs {
                    peers: peers.clone(),
                    count: self.work.messages,
                    size: self.work.size as u32,
                    protocols: 1,
                };
                let (sender, name) = (sender.clone(), name.clone());
                sending.spawn(async move { sender.call::<Flooded>(&name, "flood", &args).await });
            }
        }
        while let Some(sent) = sending.join_next().await {
            sent?.context("the flood")?;
        }
        for (receiver, wanted) in self.receivers.iter().zip(wanted) {
            receiver.handles(wanted).await?;
        }
        Ok(self.work.rate(began))
    }
}

impl Ends for PluginFlows {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}
