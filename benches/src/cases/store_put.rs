//! Turns that write one value each: how many a second, when they wait for the disk and when they do not.

use anyhow::Result;
use weir_host::plugin::store::Durability;
use weir_plugin_load::{Put, PutArgs};

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::PluginNode;

const ROWS: [Row; 2] = [
    Row { name: "store_put_relaxed", unit: Unit::TurnsPerSecond },
    Row { name: "store_put_strict", unit: Unit::TurnsPerSecond },
];
/// Turns in a round.
const TURNS: [u64; 2] = [20_000, 1_000];
const SIZE: u32 = 256;
const NAME: &str = "load";

struct Storing {
    /// In the order of the rows.
    nodes: [PluginNode; 2],
    turns: [u64; 2],
}

pub(super) async fn case(scale: f64) -> Result<Case> {
    let names = [NAME.to_owned()];
    let nodes = [
        PluginNode::start_with(&names, Durability::Relaxed).await?,
        PluginNode::start_with(&names, Durability::Strict).await?,
    ];
    let storing = Storing { nodes, turns: TURNS.map(|turns| share(turns, scale)) };
    Ok(Case { rows: ROWS.to_vec(), ways: vec![(Way::Plugin, Box::new(storing))] })
}

impl Storing {
    async fn put(&mut self) -> Result<Vec<f64>> {
        let mut rates = Vec::new();
        for (node, turns) in self.nodes.iter().zip(self.turns) {
            let put: Put = node.call(NAME, "put", &PutArgs { turns, size: SIZE }).await?;
            rates.push(turns as f64 / (put.elapsed_us as f64 / 1e6));
        }
        Ok(rates)
    }
}

impl Ends for Storing {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.put())
    }
}
