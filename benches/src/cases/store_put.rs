//! Turns that write one value each: how many a second, when they wait for the disk and when they do not.
//!
//! The plugin writes every message that comes, and a turn of it takes one event: so a turn is one message, one write and
//! one commit, and there is always a next one to take.

use std::time::Instant;

use anyhow::{Result, ensure};
use weir_host::plugin::store::Durability;
use weir_host::plugin::{PluginBudgets, PluginSettings};
use weir_plugin_load::{Config, FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::{LOAD, PluginNode};

const ROWS: [Row; 2] = [
    Row { name: "store_put_relaxed", unit: Unit::TurnsPerSecond },
    Row { name: "store_put_strict", unit: Unit::TurnsPerSecond },
];
/// Turns in a round.
const TURNS: [u64; 2] = [50_000, 1_000];
const SIZE: u32 = 256;

struct Storing {
    sends: PluginNode,
    /// Who writes, in the order of the rows.
    write: [PluginNode; 2],
    turns: [u64; 2],
}

pub(super) async fn case(scale: f64) -> Result<Case> {
    let names = [LOAD.to_owned()];
    let sends = PluginNode::start(&names).await?;
    let write = [writer(&names, Durability::Relaxed).await?, writer(&names, Durability::Strict).await?];
    for node in &write {
        sends.connect(node).await?;
    }
    let storing = Storing { sends, write, turns: TURNS.map(|turns| share(turns, scale)) };
    Ok(Case { rows: ROWS.to_vec(), ways: vec![(Way::Plugin, Box::new(storing))] })
}

async fn writer(names: &[String], durability: Durability) -> Result<PluginNode> {
    let settings = PluginSettings {
        config: serde_json::to_value(Config { keep: true })?,
        durability: Some(durability),
        budgets: PluginBudgets { batch_events: Some(1), ..PluginBudgets::default() },
        ..PluginSettings::default()
    };
    PluginNode::start_with(names, &settings).await
}

impl Storing {
    async fn put(&mut self) -> Result<Vec<f64>> {
        let mut rates = Vec::new();
        for (node, count) in self.write.iter().zip(self.turns) {
            let (handled, turns) = (node.handled(), node.turns());
            let peers = vec![PeerId::from_bytes(*node.id().as_bytes())];
            let began = Instant::now();
            let _: Flooded =
                self.sends.call(LOAD, "flood", &FloodArgs { peers, count, size: SIZE, protocols: 1 }).await?;
            node.handles(handled + count).await?;
            rates.push(count as f64 / began.elapsed().as_secs_f64());
            let turns = node.turns() - turns;
            ensure!(turns >= count, "{turns} turns for {count} messages");
        }
        Ok(rates)
    }
}

impl Ends for Storing {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.put())
    }
}
