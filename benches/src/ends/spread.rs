//! A node with the plugin `spread`, which publishes signed messages by the SDK's gossip.

use anyhow::{Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_host::plugin::PluginSettings;
use weir_plugin_spread::{NAME, Status};

use super::plugin::source;
use super::{Node, PATIENCE, spread_file};

/// See the module.
pub struct SpreadNode {
    node: Node,
}

impl SpreadNode {
    /// Starts a node and loads the plugin.
    ///
    /// # Errors
    /// When either fails.
    pub async fn start() -> Result<Self> {
        let node = Node::start().await?;
        let settings = PluginSettings { grants: vec!["sign".to_owned()], ..PluginSettings::default() };
        node.host.plugins().load(source(spread_file()?, &settings)).await?;
        Ok(Self { node })
    }

    /// Keeps `other` connected.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn connect(&self, other: &Self) -> Result<()> {
        self.node.connect(&other.node, &"/spread/1.0.0".parse()?).await
    }

    /// Waits until the plugin has somebody to pass messages on to.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn joins(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.status().await?.view == 0 {
            ensure!(tokio::time::Instant::now() < deadline, "it has no view after {} s", PATIENCE.as_secs());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What the plugin says of itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn status(&self) -> Result<Status> {
        self.call("status", &serde_json::json!({})).await
    }

    /// Calls a command of the plugin.
    ///
    /// # Errors
    /// When it fails, or answers something else.
    pub async fn call<T: DeserializeOwned>(&self, command: &str, args: &impl Serialize) -> Result<T> {
        self.node.call(NAME, command, args).await
    }
}
