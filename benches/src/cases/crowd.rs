//! One node here and many peers in a process of their own, which all get the same number of messages.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use weir_host::peer::PeerId as Peer;
use weir_host::protocol::ProtocolId;
use weir_host::transport::{Link, SendStream};
use weir_plugin_load::{FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::one_way::OneWay;
use crate::case::{Case, Ends, Round, Way};
use crate::ends::{Far, Kind, LOAD, NativeNode, Node, PATIENCE, PluginNode, RawNode};

/// How often the peers are counted that have come.
const LOOK: Duration = Duration::from_millis(10);

/// Who sends.
enum Near {
    Raw { streams: Vec<SendStream>, _open: Box<(RawNode, Vec<Link>)> },
    Native(std::sync::Arc<NativeNode>, Vec<Peer>),
    Plugin(PluginNode, Vec<Peer>),
}

struct Crowd {
    work: OneWay,
    near: Near,
    far: Far,
    /// What has come there so far.
    come: u64,
}

/// A way for a stream to each, for a handler and for a plugin.
///
/// # Errors
/// When somebody does not start.
pub async fn case(work: OneWay, name: &'static str) -> Result<Case> {
    let ways: Vec<(Way, Box<dyn Ends>)> = vec![
        (Way::Raw, Box::new(Crowd::raw(work).await?)),
        (Way::Native, Box::new(Crowd::native(work).await?)),
        (Way::Plugin, Box::new(Crowd::plugin(work).await?)),
    ];
    Ok(Case { rows: OneWay::rows(name), ways })
}

impl Crowd {
    async fn raw(work: OneWay) -> Result<Self> {
        let mut node = RawNode::start()?;
        let address = node.address();
        let accepted = async {
            let mut links = Vec::new();
            for _ in 0..work.receivers {
                links.push(node.accept().await?);
            }
            anyhow::Ok(links)
        };
        let (far, links) = tokio::join!(Far::crowd(Kind::Raw, work.receivers, address), accepted);
        let (far, mut links, mut streams) = (far?, links?, Vec::new());
        for link in &mut links {
            streams.push(link.handle.open_send_stream().await?);
        }
        Ok(Self { work, near: Near::Raw { streams, _open: Box::new((node, links)) }, far, come: 0 })
    }

    async fn native(work: OneWay) -> Result<Self> {
        let node = NativeNode::start(1).await?;
        let far = Far::crowd(Kind::Native, work.receivers, node.node.address()).await?;
        let peers = all(&node.node, &NativeNode::protocol(0)?, work.receivers).await?;
        Ok(Self { work, near: Near::Native(node.into(), peers), far, come: 0 })
    }

    async fn plugin(work: OneWay) -> Result<Self> {
        let node = PluginNode::start(&[LOAD.to_owned()]).await?;
        let far = Far::crowd(Kind::Plugin, work.receivers, node.node.address()).await?;
        let peers = all(&node.node, &PluginNode::protocol(LOAD)?, work.receivers).await?;
        Ok(Self { work, near: Near::Plugin(node, peers), far, come: 0 })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let (work, body) = (self.work, self.work.body());
        let (began, mut sending) = (Instant::now(), JoinSet::new());
        match &mut self.near {
            Near::Raw { streams, .. } => {
                for mut stream in streams.drain(..) {
                    let body = body.clone();
                    sending.spawn(async move {
                        for _ in 0..work.messages {
                            stream.write(&mut [body.clone()]).await?;
                        }
                        anyhow::Ok(Some(stream))
                    });
                }
            }
            Near::Native(node, peers) => {
                for peer in peers.iter().copied() {
                    let (node, body) = (node.clone(), body.clone());
                    sending.spawn(async move { node.flood(peer, 0, work.messages, &body).await.map(|()| None) });
                }
            }
            Near::Plugin(node, peers) => {
                let peers = peers.iter().map(|peer| PeerId::from_bytes(*peer.as_bytes())).collect();
                let args = FloodArgs { peers, count: work.messages, size: work.size as u32, protocols: 1 };
                node.call::<Flooded>(LOAD, "flood", &args).await?;
            }
        }
        while let Some(sent) = sending.join_next().await {
            if let (Some(stream), Near::Raw { streams, .. }) = (sent??, &mut self.near) {
                streams.push(stream);
            }
        }
        let each = if matches!(self.near, Near::Raw { .. }) { work.size as u64 } else { 1 };
        self.come += work.total() * each;
        self.far.reach(self.come).await?;
        Ok(self.work.rate(began))
    }
}

/// All peers of a node, once so many can be sent messages of the protocol.
async fn all(node: &Node, protocol: &ProtocolId, wanted: usize) -> Result<Vec<Peer>> {
    let (network, deadline) = (node.host.network(), Instant::now() + PATIENCE);
    loop {
        let mut peers: Vec<_> = node.host.peers().await.into_iter().map(|peer| peer.peer_id).collect();
        peers.retain(|peer| network.lane(peer, protocol).is_ok());
        if peers.len() == wanted {
            return Ok(peers);
        }
        ensure!(Instant::now() < deadline, "{} of {wanted} peers have the protocol", peers.len());
        tokio::time::sleep(LOOK).await;
    }
}

impl Ends for Crowd {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}
