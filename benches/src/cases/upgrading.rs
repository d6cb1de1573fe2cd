//! A plugin that is replaced: under load, where its mailbox is held meanwhile and nothing may be lost; and at rest, which
//! shows what a new instance costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_host::plugin::PluginSettings;
use weir_plugin_load::{FloodArgs, Flooded};
use weir_sdk::abi::PeerId;

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::{LOAD, LOOK, PluginNode, plugin_file, source, until};
use crate::measure::quantile;

const ROWS: [Row; 3] = [
    Row { name: "upgrade_pause", unit: Unit::Microseconds },
    Row { name: "upgrade_pause_p99", unit: Unit::Microseconds },
    Row { name: "instantiate", unit: Unit::Microseconds },
];
/// In a round, under load and at rest.
const UPGRADES: u64 = 50;
/// Messages that are handled between two of them.
const BETWEEN: u64 = 20_000;
/// Messages of one flood.
const FLOOD: u64 = 200_000;
const SIZE: u32 = 256;

struct Upgrading {
    sends: Arc<PluginNode>,
    runs: PluginNode,
    /// Two files of one plugin, told apart by a section that nobody reads.
    files: [Vec<u8>; 2],
    /// Which of them runs.
    running: usize,
    upgrades: u64,
}

pub(super) async fn case(scale: f64) -> Result<Case> {
    let names = [LOAD.to_owned()];
    let (sends, runs) = (PluginNode::start(&names).await?, PluginNode::start(&names).await?);
    sends.connect(&runs).await?;
    let file = plugin_file()?;
    let other = [&file[..], &[0, 6, 5, b'o', b't', b'h', b'e', b'r']].concat();
    let upgrades = share(UPGRADES, scale);
    let upgrading = Upgrading { sends: Arc::new(sends), runs, files: [file, other], running: 0, upgrades };
    Ok(Case { rows: ROWS.to_vec(), ways: vec![(Way::Plugin, Box::new(upgrading))] })
}

impl Upgrading {
    /// Runs the other file. How long messages waited, and how long it took in all.
    async fn upgrade(&mut self) -> Result<(Duration, Duration)> {
        self.running = 1 - self.running;
        let source = source(self.files[self.running].clone(), &PluginSettings::default());
        let began = Instant::now();
        let report = self.runs.node.host.plugins().upgrade(LOAD, source).await?;
        Ok((report.pause, began.elapsed()))
    }

    async fn under_load(&mut self) -> Result<Vec<f64>> {
        let before = self.runs.handled();
        let over = Arc::new(AtomicBool::new(false));
        let to = PeerId::from_bytes(*self.runs.id().as_bytes());
        let flooding = tokio::spawn(flood(self.sends.clone(), to, over.clone()));
        let mut pauses = Vec::new();
        for _ in 0..self.upgrades {
            let handled = self.runs.handled() + BETWEEN;
            until("the flood goes on", LOOK, || self.runs.handled() >= handled).await?;
            pauses.push(micros(self.upgrade().await?.0));
        }
        over.store(true, Ordering::Relaxed);
        let sent = flooding.await??;
        self.runs.handles(before + sent).await?;
        let handled = self.runs.handled() - before;
        ensure!(handled == sent, "{sent} messages were sent and {handled} handled");
        Ok(pauses)
    }

    async fn all(&mut self) -> Result<Vec<f64>> {
        let mut pauses = self.under_load().await?;
        pauses.sort_unstable_by(f64::total_cmp);
        let mut quiet = Vec::new();
        for _ in 0..self.upgrades {
            quiet.push(micros(self.upgrade().await?.1));
        }
        quiet.sort_unstable_by(f64::total_cmp);
        Ok(vec![quantile(&pauses, 0.5), quantile(&pauses, 0.99), quantile(&quiet, 0.5)])
    }
}

/// One flood after the other until it is over: how many messages that were.
async fn flood(node: Arc<PluginNode>, to: PeerId, over: Arc<AtomicBool>) -> Result<u64> {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let args = FloodArgs { peers: vec![to], count: FLOOD, size: SIZE, protocols: 1 };
        sent += node.call::<Flooded>(LOAD, "flood", &args).await?.messages;
    }
    Ok(sent)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Ends for Upgrading {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.all())
    }
}
