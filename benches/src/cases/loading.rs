//! From a plugin's file to the first answer that a peer has from it: compiled, and from the cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::sync::mpsc;
use weir_host::plugin::{PluginSettings, PluginSource};
use weir_host::protocol::{Delivery, NativeEvent, Network, News, Outgoing, ProtocolId, ProtocolSpec, native};
use weir_sdk::renamable::renamed;

use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::{NativeNode, Node, PATIENCE, plugin_file};

const ROWS: [Row; 2] =
    [Row { name: "cold_load", unit: Unit::Microseconds }, Row { name: "cached_load", unit: Unit::Microseconds }];

/// A node that loads, and a peer of it that asks as soon as it may.
struct Loading {
    loads: Node,
    asks: NativeNode,
    folder: tempfile::TempDir,
    round: usize,
}

pub(super) async fn case() -> Result<Case> {
    let (loads, asks) = (NativeNode::start(1).await?, NativeNode::start(1).await?);
    asks.connect(&loads).await?;
    let loading = Loading { loads: loads.node, asks, folder: tempfile::tempdir()?, round: 0 };
    Ok(Case { rows: ROWS.to_vec(), ways: vec![(Way::Plugin, Box::new(loading))] })
}

impl Loading {
    /// Loads a plugin that was never seen, forgets it, and loads it again.
    async fn twice(&mut self) -> Result<Vec<f64>> {
        self.round += 1;
        let name = format!("load-{}", self.round);
        let file = self.folder.path().join(format!("{name}.wasm"));
        std::fs::write(&file, renamed(plugin_file()?, &name)?)?;
        let mut took = Vec::new();
        for _ in ROWS {
            let answered = self.ask_when_there(&name)?;
            took.push(self.load(&file, answered).await?.as_secs_f64() * 1e6);
            self.loads.host.plugins().unload(&name).await?;
            self.asks.node.host.network().unregister(&protocol(&name)?);
        }
        Ok(took)
    }

    async fn load(&self, file: &PathBuf, mut answered: mpsc::Receiver<Instant>) -> Result<Duration> {
        let began = Instant::now();
        let bytes = std::fs::read(file)?;
        let source = PluginSource { bytes, path: Some(file.clone()), settings: PluginSettings::default() };
        self.loads.host.plugins().load(source).await?;
        let end = tokio::time::timeout(PATIENCE, answered.recv()).await?.context("no answer")?;
        Ok(end - began)
    }

    /// Registers the protocol at the peer, which asks once when the node supports it, and tells when the answer came.
    fn ask_when_there(&self, name: &str) -> Result<mpsc::Receiver<Instant>> {
        let (network, id) = (self.asks.node.host.network(), protocol(name)?);
        let (handler, mut inbox) = native(1);
        let spec = ProtocolSpec { id: id.clone(), delivery: Delivery::Ordered, max_message: 1 << 16 };
        network.register(spec, name, handler)?;
        let (tell, told) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(event) = inbox.next().await {
                if let NativeEvent::News(News::Supported { peer, .. }) = event {
                    network.commit(&peer, &id, vec![ask(&network, tell.clone())]);
                }
            }
        });
        Ok(told)
    }
}

fn ask(network: &Arc<dyn Network>, tell: mpsc::Sender<Instant>) -> Outgoing {
    let reply = Box::new(move |outcome: Result<_, _>| {
        if outcome.is_ok() {
            // The first one counts.
            let _ = tell.try_send(Instant::now());
        }
    });
    Outgoing::Ask { id: network.next_ask(), timeout: PATIENCE, body: Bytes::from_static(b"hello"), reply }
}

fn protocol(name: &str) -> Result<ProtocolId> {
    Ok(format!("/{name}/1.0.0").parse()?)
}

impl Ends for Loading {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.twice())
    }
}
