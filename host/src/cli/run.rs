//! `weir run`: the node, until somebody ends it.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::output::Output;
use crate::admin::RunningNode;
use crate::config::{Config, LogFormat};
use crate::folder::{Folder, FolderError};
use crate::host::Environment;
use crate::node::NodeMode;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Where to listen, instead of what weir.toml says
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Log one JSON object a line, whatever weir.toml says
    #[arg(long)]
    log_json: bool,
    /// Load no plugin of the plugin folder; loading by hand works
    #[arg(long)]
    safe_mode: bool,
    /// Threads for the network and for turns of plugins, instead of one for each processor. Fewer answer sooner, because
    /// less is handed from one to another; more carry more plugins that are busy at once
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

impl Run {
    pub(super) async fn execute(self, folder: Folder, output: &Output) -> Result<(), Failure> {
        if !folder.config().exists() {
            return Err(FolderError::NotInitialised(folder.path().to_owned()).into());
        }
        let mut config = Config::load(&folder.config())?;
        config.listen = self.listen.unwrap_or(config.listen);
        if self.log_json {
            config.log.format = LogFormat::Json;
        }
        telemetry::init(&config.log);
        let mode = if self.safe_mode { NodeMode::Safe } else { NodeMode::Normal };
        let mut signals = Signals::new()?;
        let node = tokio::select! {
            biased;
            // Nothing is running yet that would have to end in order.
            _ = signals.next() => return Ok(()),
            node = RunningNode::start_in(mode, folder, config, environment()) => node?,
        };
        announce(&node, output);
        let first = signals.next().await;
        tracing::info!("{} received, ending", first.name);
        tokio::select! {
            biased;
            () = node.shutdown() => tracing::info!("ended"),
            second = signals.next() => {
                tracing::warn!("{} received again, ending at once", second.name);
                std::process::exit(128 + second.number);
            }
        }
        Ok(())
    }
}

/// Plugins are compiled by this program, in processes of their own. On Linux it is named in a way that still means the
/// same program when its file was replaced.
fn environment() -> Environment {
    let own = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    Environment { compiler: own.ok(), ..Environment::default() }
}

/// The one line on stdout: whoever started us may go on.
fn announce(node: &RunningNode, output: &Output) {
    let (peer, address) = (node.node().host().peer_id(), node.address());
    tracing::info!(%peer, %address, "ready");
    let socket = node.node().folder().socket();
    let document = json!({"peer_id": peer, "address": address, "socket": socket});
    output.show(&document, |_| format!("ready {peer}@{address}"));
}

/// Waits for a signal that ends a command. Cancel safe.
pub(super) async fn end_signal() -> Result<(), Failure> {
    Signals::new()?.next().await;
    Ok(())
}

/// The signals that end a node.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[derive(Debug, Clone, Copy)]
struct Received {
    name: &'static str,
    number: i32,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::new("start-failed", format!("cannot hear signals: {e}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Received {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Received { name: "SIGINT", number: 2 },
            _ = self.terminate.recv() => Received { name: "SIGTERM", number: 15 },
        }
    }
}
