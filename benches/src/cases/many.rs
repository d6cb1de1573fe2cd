//! Many plugins on one node, and plugins with many protocols: beside handlers with as many protocols between two nodes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;
use weir_host::plugin::{PluginBudgets, PluginSettings};
use weir_plugin_load::{FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::flows::NativeFlows;
use super::one_way::OneWay;
use crate::case::{Case, Ends, Round, Way};
use crate::ends::{NativeNode, Node, PluginNode};

/// Handlers, and as many plugins of one node, to which a peer without plugins sends.
///
/// # Errors
/// When somebody does not start.
pub async fn plugins(work: OneWay, name: &'static str) -> Result<Case> {
    let ways: Vec<(Way, Box<dyn Ends>)> = vec![
        (Way::Native, Box::new(NativeFlows::start(work).await?)),
        (Way::Plugin, Box::new(Plugins::start(work).await?)),
    ];
    Ok(Case { rows: OneWay::rows(name), ways })
}

/// Handlers, and one plugin on both sides with as many protocols.
///
/// # Errors
/// When somebody does not start.
pub async fn protocols(work: OneWay, name: &'static str) -> Result<Case> {
    let ways: Vec<(Way, Box<dyn Ends>)> = vec![
        (Way::Native, Box::new(NativeFlows::start(work).await?)),
        (Way::Plugin, Box::new(Protocols::start(work).await?)),
    ];
    Ok(Case { rows: OneWay::rows(name), ways })
}

struct Plugins {
    work: OneWay,
    sends: Arc<NativeNode>,
    runs: PluginNode,
}

impl Plugins {
    async fn start(work: OneWay) -> Result<Self> {
        let names: Vec<_> = (0..work.protocols).map(|number| format!("load-{number}")).collect();
        let runs = PluginNode::start(&names).await?;
        let protocols = names.iter().map(|name| PluginNode::protocol(name)).collect::<Result<Vec<_>>>()?;
        let sends = NativeNode::speaking(Node::start().await?, protocols.clone(), Arc::default())?;
        for protocol in &protocols {
            sends.node.connect(&runs.node, protocol).await?;
        }
        Ok(Self { work, sends: sends.into(), runs })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let (work, to, wanted) = (self.work, self.runs.id(), self.runs.handled() + self.work.total());
        let (began, mut sending) = (Instant::now(), JoinSet::new());
        for protocol in 0..work.protocols {
            let (sends, body) = (self.sends.clone(), work.body());
            sending.spawn(async move { sends.flood(to, protocol, work.messages, &body).await });
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        self.runs.handles(wanted).await?;
        Ok(work.rate(began))
    }
}

struct Protocols {
    work: OneWay,
    name: String,
    sends: PluginNode,
    counts: PluginNode,
}

impl Protocols {
    async fn start(work: OneWay) -> Result<Self> {
        let name = format!("load-x{}", work.protocols);
        let budgets = PluginBudgets { protocols: Some(1_024), ..PluginBudgets::default() };
        let settings = PluginSettings { budgets, ..PluginSettings::default() };
        let sends = PluginNode::start_with(std::slice::from_ref(&name), &settings).await?;
        let counts = PluginNode::start_with(std::slice::from_ref(&name), &settings).await?;
        sends.connect(&counts).await?;
        for number in 0..work.protocols {
            sends.node.connect(&counts.node, &format!("/{name}/1.0.{number}").parse()?).await?;
        }
        Ok(Self { work, name, sends, counts })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let OneWay { messages: count, size, protocols, .. } = self.work;
        let wanted = self.counts.handled() + self.work.total();
        let peers = vec![PeerId::from_bytes(*self.counts.id().as_bytes())];
        let began = Instant::now();
        let args = FloodArgs { peers, count, size: size as u32, protocols: protocols as u32 };
        self.sends.call::<Flooded>(&self.name, "flood", &args).await?;
        self.counts.handles(wanted).await?;
        Ok(self.work.rate(began))
    }
}

impl Ends for Plugins {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

impl Ends for Protocols {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}
