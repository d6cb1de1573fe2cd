//! What a connected peer that says nothing costs the node in memory: a node in a process of its own, and its peers in
//! another, so that only one end is counted.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::{Far, Kind};

/// Peers that are there before anything is counted: the first ones pay for what all use.
const FIRST: usize = 32;
/// Peers that are counted.
const PEERS: u64 = 256;
/// Fewer would not show between pages.
const FEWEST: u64 = 16;
/// How long memory that handshakes used is given to come back.
const REST: Duration = Duration::from_secs(2);

struct Idle {
    kind: Kind,
    peers: usize,
}

pub(super) fn case(name: &'static str, scale: f64) -> Case {
    let peers = share(PEERS, scale).max(FEWEST) as usize;
    let way = |way, kind| -> (Way, Box<dyn Ends>) { (way, Box::new(Idle { kind, peers })) };
    let ways = vec![way(Way::Raw, Kind::Raw), way(Way::Native, Kind::Native), way(Way::Plugin, Kind::Plugin)];
    Case { rows: vec![Row { name, unit: Unit::Kibibytes }], ways }
}

impl Idle {
    /// KiB for each peer.
    async fn connect(&mut self) -> Result<Vec<f64>> {
        let node = Far::start(self.kind).await?;
        let _first = Far::crowd(self.kind, FIRST, node.address).await?;
        tokio::time::sleep(REST).await;
        let before = resident(node.process())?;
        let _crowd = Far::crowd(self.kind, self.peers, node.address).await?;
        tokio::time::sleep(REST).await;
        let grown = resident(node.process())?.saturating_sub(before);
        Ok(vec![grown as f64 / self.peers as f64])
    }
}

/// KiB of a process that are really there.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("this case needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

impl Ends for Idle {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.connect())
    }
}
