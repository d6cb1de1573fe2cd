//! A node with the plugin `load`, once or several times under other names.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_host::peer::PeerId;
use weir_host::plugin::{PluginSettings, PluginSource};
use weir_host::protocol::ProtocolId;
use weir_sdk::renamable::renamed;

use super::{LOOK, Node, until};

/// See the module.
pub struct PluginNode {
    /// The node.
    pub node: Node,
    names: Vec<String>,
}

impl PluginNode {
    /// Starts a node and loads the plugin under each of these names.
    ///
    /// # Errors
    /// When either fails.
    pub async fn start(names: &[String]) -> Result<Self> {
        Self::start_with(names, &PluginSettings::default()).await
    }

    /// The same with settings.
    ///
    /// # Errors
    /// When either fails.
    pub async fn start_with(names: &[String], settings: &PluginSettings) -> Result<Self> {
        let node = Node::start().await?;
        for name in names {
            node.host.plugins().load(source(renamed(plugin_file()?, name)?, settings)).await?;
        }
        Ok(Self { node, names: names.to_vec() })
    }

    /// Keeps `other` connected.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn connect(&self, other: &Self) -> Result<()> {
        for name in &self.names {
            self.node.connect(&other.node, &Self::protocol(name)?).await?;
        }
        Ok(())
    }

    /// The protocol of the plugin with this name.
    ///
    /// # Errors
    /// When the name is none.
    pub fn protocol(name: &str) -> Result<ProtocolId> {
        Ok(format!("/{name}/1.0.0").parse()?)
    }

    /// Who it is.
    pub fn id(&self) -> PeerId {
        self.node.host.peer_id()
    }

    /// Messages that all its plugins have handled.
    pub fn handled(&self) -> u64 {
        self.node.host.plugins().list().iter().map(|plugin| plugin.counters.messages).sum()
    }

    /// Turns that all its plugins have done.
    pub fn turns(&self) -> u64 {
        self.node.host.plugins().list().iter().map(|plugin| plugin.counters.turns).sum()
    }

    /// Waits until its plugins have handled so many in all.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn handles(&self, wanted: u64) -> Result<()> {
        // To ask a thousand plugins takes a millisecond or two.
        let pause = LOOK + LOOK * (self.names.len() / 100) as u32;
        let all = until("all messages are handled", pause, || self.handled() >= wanted).await;
        all.with_context(|| {
            let counters: Vec<_> = self.node.host.plugins().list().iter().map(|plugin| plugin.counters).collect();
            format!("{} of {wanted}: {counters:?}", self.handled())
        })
    }

    /// Calls a command of the plugin with this name.
    ///
    /// # Errors
    /// When it fails, or answers something else.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, command: &str, args: &impl Serialize) -> Result<T> {
        self.node.call(name, command, args).await
    }
}

/// This file, to be loaded.
pub fn source(bytes: Vec<u8>, settings: &PluginSettings) -> PluginSource {
    PluginSource { bytes, path: path().ok(), settings: settings.clone() }
}

fn path() -> Result<PathBuf> {
    let path = std::env::var_os("WEIR_BENCH_PLUGIN");
    Ok(path.context("WEIR_BENCH_PLUGIN is not set: run this as `cargo xtask bench`")?.into())
}

/// The plugin `load`.
///
/// # Errors
/// When it cannot be read.
pub fn plugin_file() -> Result<Vec<u8>> {
    read(&path()?)
}

/// The plugin `spread`, which lies beside it.
///
/// # Errors
/// When it cannot be read.
pub fn spread_file() -> Result<Vec<u8>> {
    read(&path()?.with_file_name("spread.wasm"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}
