//! Real nodes in this process, on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use weir_host::config::Config;
use weir_host::host::{Environment, Host, HostConfig};
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::plugin::{Caller, PluginSettings, PluginSource};
use weir_host::runtime::Runtime;

/// How long a step of a test may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node with a folder of its own.
pub struct TestNode {
    /// The node.
    pub host: Host,
    folder: TempDir,
    key: Arc<NodeKey>,
    config: Config,
}

impl TestNode {
    /// Starts a node with the default configuration on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// Starts a node whose configuration was changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::start_in(Environment::default(), change).await
    }

    /// The same in another environment.
    pub async fn start_in(environment: Environment, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = Runtime::system()?;
        let mut config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
        change(&mut config);
        let key = Arc::new(NodeKey::generate(&*runtime.entropy));
        let started = HostConfig {
            key: key.clone(),
            data_dir: folder.path().to_owned(),
            config: config.clone(),
            runtime,
            environment,
        };
        let host = Host::start(started).await?;
        Ok(Self { host, folder, key, config })
    }

    /// After its end, starts the same node again: its key, its folder, the default environment. Nobody is its peer and no
    /// plugin is loaded then.
    pub async fn start_again(&mut self) -> Result<()> {
        let (key, config) = (self.key.clone(), self.config.clone());
        let (runtime, environment) = (Runtime::system()?, Environment::default());
        let data_dir = self.folder.path().to_owned();
        self.host = Host::start(HostConfig { key, data_dir, config, runtime, environment }).await?;
        Ok(())
    }

    /// Where it is.
    pub fn address(&self) -> PeerAddr {
        PeerAddr { peer: self.host.peer_id(), address: self.host.local_address() }
    }

    /// Keeps `other` connected, and waits until both see each other.
    pub async fn connect(&self, other: &Self) -> Result<()> {
        self.host.add_peer(other.address(), true).await?;
        until("the nodes are connected", async || {
            sees(&self.host, &other.host).await && sees(&other.host, &self.host).await
        })
        .await
    }

    /// Loads a guest that `cargo xtask guests` built.
    pub async fn load(&self, guest: &str) -> Result<()> {
        self.load_with(guest, PluginSettings::default()).await
    }

    /// Loads a guest with config and grants.
    pub async fn load_with(&self, guest: &str, settings: PluginSettings) -> Result<()> {
        self.host.plugins().load(source(guest, settings)?).await.with_context(|| format!("loading {guest}"))?;
        Ok(())
    }

    /// Calls a command of a plugin.
    pub async fn call(&self, plugin: &str, command: &str, body: Value) -> Result<Value> {
        self.call_for(plugin, command, body, PATIENCE).await
    }

    /// Calls a command of a plugin that may take long.
    pub async fn call_for(&self, plugin: &str, command: &str, body: Value, limit: Duration) -> Result<Value> {
        let body = serde_json::to_vec(&body)?.into();
        let caller = Caller::Operator("test".into());
        let answer = self.host.plugins().call(plugin, command, body, caller, limit).await;
        Ok(serde_json::from_slice(&answer.with_context(|| format!("{plugin} {command}"))?)?)
    }
}

async fn sees(host: &Host, other: &Host) -> bool {
    let peers = host.peers().await;
    peers.iter().any(|peer| peer.peer_id == other.peer_id() && peer.connected)
}

/// A guest's file, ready to load.
pub fn source(guest: &str, settings: PluginSettings) -> Result<PluginSource> {
    let path = guest_path(guest)?;
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(PluginSource { bytes, path: Some(path), settings })
}

/// Where `cargo xtask guests` put a guest.
pub fn guest_path(guest: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("WEIR_TEST_GUESTS");
    let folder = folder.context("WEIR_TEST_GUESTS is not set: run the tests with `cargo xtask test`")?;
    Ok(PathBuf::from(folder).join(format!("{guest}.wasm")))
}

/// Waits until something holds, at most [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        if tokio::time::Instant::now() > deadline {
            bail!("after {PATIENCE:?} still not: {what}");
        }
        // Looks from outside, as an operator would: there is nothing to be woken by.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
