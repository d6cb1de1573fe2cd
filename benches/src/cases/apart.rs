//! One sender here and one receiver in a process of its own.

use std::time::Instant;

use anyhow::Result;
use weir_host::transport::{Link, SendStream};
use weir_plugin_load::{FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::one_way::OneWay;
use crate::case::{Case, Ends, Round, Way};
use crate::ends::{Far, Kind, LOAD, NativeNode, PluginNode, RawNode};

/// Who sends.
enum Near {
    Raw { stream: SendStream, _open: Box<(RawNode, Link)> },
    Native(NativeNode),
    Plugin(PluginNode),
}

struct Apart {
    work: OneWay,
    near: Near,
    far: Far,
    /// What has come there so far.
    come: u64,
}

pub(super) async fn case(work: OneWay, name: &'static str) -> Result<Case> {
    let ways: Vec<(Way, Box<dyn Ends>)> = vec![
        (Way::Raw, Box::new(Apart::raw(work).await?)),
        (Way::Native, Box::new(Apart::native(work).await?)),
        (Way::Plugin, Box::new(Apart::plugin(work).await?)),
    ];
    Ok(Case { rows: OneWay::rows(name), ways })
}

impl Apart {
    async fn raw(work: OneWay) -> Result<Self> {
        let (node, far) = (RawNode::start()?, Far::start(Kind::Raw).await?);
        let mut link = node.dial(far.address).await?;
        let stream = link.handle.open_send_stream().await?;
        Ok(Self { work, near: Near::Raw { stream, _open: Box::new((node, link)) }, far, come: 0 })
    }

    async fn native(work: OneWay) -> Result<Self> {
        let (node, far) = (NativeNode::start(1).await?, Far::start(Kind::Native).await?);
        node.node.reach(far.address, &NativeNode::protocol(0)?).await?;
        Ok(Self { work, near: Near::Native(node), far, come: 0 })
    }

    async fn plugin(work: OneWay) -> Result<Self> {
        let (node, far) = (PluginNode::start(&[LOAD.to_owned()]).await?, Far::start(Kind::Plugin).await?);
        node.node.reach(far.address, &PluginNode::protocol(LOAD)?).await?;
        Ok(Self { work, near: Near::Plugin(node), far, come: 0 })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let (OneWay { messages, size, .. }, body) = (self.work, self.work.body());
        let began = Instant::now();
        self.come += match &mut self.near {
            Near::Raw { stream, .. } => {
                for _ in 0..messages {
                    stream.write(&mut [body.clone()]).await?;
                }
                messages * size as u64
            }
            Near::Native(node) => {
                node.flood(self.far.address.peer, 0, messages, &body).await?;
                messages
            }
            Near::Plugin(node) => {
                let peers = vec![PeerId::from_bytes(*self.far.address.peer.as_bytes())];
                let args = FloodArgs { peers, count: messages, size: size as u32, protocols: 1 };
                node.call::<Flooded>(LOAD, "flood", &args).await?.messages
            }
        };
        self.far.reach(self.come).await?;
        Ok(self.work.rate(began))
    }
}

impl Ends for Apart {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}
