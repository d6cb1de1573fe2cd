//! A node in this process, as an operator has it: default configuration, a folder of its own.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weir_host::config::Config;
use weir_host::host::{Environment, Host, HostConfig};
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::plugin::Caller;
use weir_host::protocol::{Network, ProtocolId};
use weir_host::runtime::Runtime;

use super::{PATIENCE, until};

/// See the module.
pub struct Node {
    /// The node.
    pub host: Host,
    _folder: TempDir,
}

impl Node {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = Runtime::system()?;
        let config = Config { listen: "127.0.0.1:0".parse()?, ..Config::default() };
        let key = Arc::new(NodeKey::generate(&*runtime.entropy));
        let data_dir = folder.path().to_owned();
        let environment = Environment::default();
        let host = Host::start(HostConfig { key, data_dir, config, runtime, environment }).await?;
        Ok(Self { host, _folder: folder })
    }

    /// Keeps `other` connected, and waits until both can send the other messages of the protocol.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn connect(&self, other: &Self, protocol: &ProtocolId) -> Result<()> {
        let address = PeerAddr { peer: other.host.peer_id(), address: other.host.local_address() };
        self.host.add_peer(address, true).await?;
        let (here, there) = (self.host.network(), other.host.network());
        let reaches = |network: &dyn Network, of: &Self| network.lane(&of.host.peer_id(), protocol).is_ok();
        until("both sides have the protocol", || reaches(&*here, other) && reaches(&*there, self)).await
    }

    /// Calls a command of the plugin with this name.
    ///
    /// # Errors
    /// When it fails, or answers something else.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, command: &str, args: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(args)?.into();
        let caller = Caller::Operator("bench".to_owned());
        let answer = self.host.plugins().call(name, command, body, caller, PATIENCE).await;
        Ok(serde_json::from_slice(&answer.with_context(|| format!("{name} {command}"))?)?)
    }
}
