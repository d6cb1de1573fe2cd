//! A node in this process, as an operator has it: a folder of its own, and the default configuration but for how many
//! peers, plugins and handlers there may be.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weir_host::config::{Config, Limits, PluginLimits};
use weir_host::host::{Environment, Host, HostConfig};
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::plugin::Caller;
use weir_host::plugin::store::MemoryDisk;
use weir_host::protocol::{Network, ProtocolId};
use weir_host::runtime::Runtime;

use super::{LOOK, PATIENCE, until};

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
        Self::start_in(Environment::default()).await
    }

    /// One of many: without a file for its store.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn small() -> Result<Self> {
        Self::start_in(Environment { disk: Some(MemoryDisk::default()), ..Environment::default() }).await
    }

    async fn start_in(environment: Environment) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = Runtime::system()?;
        let key = Arc::new(NodeKey::generate(&*runtime.entropy));
        let (data_dir, config) = (folder.path().to_owned(), config()?);
        let host = Host::start(HostConfig { key, data_dir, config, runtime, environment }).await?;
        Ok(Self { host, _folder: folder })
    }

    /// Where it is dialed.
    pub fn address(&self) -> PeerAddr {
        PeerAddr { peer: self.host.peer_id(), address: self.host.local_address() }
    }

    /// Keeps a node in another process connected, and waits until messages of the protocol can be sent to it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn reach(&self, to: PeerAddr, protocol: &ProtocolId) -> Result<()> {
        self.host.add_peer(to, true).await?;
        let network = self.host.network();
        until("the other side has the protocol", LOOK, || network.lane(&to.peer, protocol).is_ok()).await
    }

    /// Keeps `other` connected, and waits until both can send the other messages of the protocol.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn connect(&self, other: &Self, protocol: &ProtocolId) -> Result<()> {
        self.host.add_peer(other.address(), true).await?;
        let (here, there) = (self.host.network(), other.host.network());
        let reaches = |network: &dyn Network, of: &Self| network.lane(&of.host.peer_id(), protocol).is_ok();
        until("both sides have the protocol", LOOK, || reaches(&*here, other) && reaches(&*there, self)).await
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

fn config() -> Result<Config> {
    // An eighth of the places is for peers that a node dials itself.
    let many = 1_200;
    let limits = Limits { max_peers: many, native_handlers: many, memory_limit: u64::MAX, ..Limits::default() };
    let plugins = PluginLimits { max_plugins: many, ..PluginLimits::default() };
    Ok(Config { listen: "127.0.0.1:0".parse()?, limits, plugins, ..Config::default() })
}
