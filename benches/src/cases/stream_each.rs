//! A stream for every message, as raw QUIC would do it, against nodes whose pools keep theirs.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use weir_host::transport::{LinkAcceptor, LinkHandle};

use super::flows::{NativeFlows, PluginFlows};
use super::one_way::OneWay;
use crate::case::{Case, Ends, Round, Way};
use crate::ends::{RawNode, Tally};

struct StreamEach {
    work: OneWay,
    handle: LinkHandle,
    received: Arc<Tally>,
    _open: (RawNode, RawNode, LinkHandle),
}

pub(super) async fn case(work: OneWay, name: &'static str) -> Result<Case> {
    let ways: Vec<(Way, Box<dyn Ends>)> = vec![
        (Way::Raw, Box::new(StreamEach::start(work).await?)),
        (Way::Native, Box::new(NativeFlows::start(work).await?)),
        (Way::Plugin, Box::new(PluginFlows::start(work).await?)),
    ];
    Ok(Case { rows: OneWay::rows(name), ways })
}

impl StreamEach {
    async fn start(work: OneWay) -> Result<Self> {
        let (near, mut far) = (RawNode::start()?, RawNode::start()?);
        let (near_link, far_link) = near.connect(&mut far).await?.into_links();
        let received = Arc::<Tally>::default();
        tokio::spawn(count(far_link.acceptor, received.clone()));
        Ok(Self { work, handle: near_link.handle, received, _open: (near, far, far_link.handle) })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let (body, wanted) = (self.work.body(), self.received.come() + self.work.messages);
        let began = Instant::now();
        for _ in 0..self.work.messages {
            let mut stream = self.handle.open_send_stream().await?;
            stream.write(&mut [body.clone()]).await?;
            stream.finish()?;
        }
        self.received.reach(wanted).await.context("streams")?;
        Ok(self.work.rate(began))
    }
}

impl Ends for StreamEach {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

/// Reads every stream to its end.
async fn count(mut acceptor: LinkAcceptor, streams: Arc<Tally>) {
    while let Ok(Some(mut stream)) = acceptor.accept_receive_stream().await {
        let streams = streams.clone();
        tokio::spawn(async move {
            while let Ok(Some(_)) = stream.read().await {}
            streams.add(1);
        });
    }
}
