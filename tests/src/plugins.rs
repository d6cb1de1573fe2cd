//! The plugin runtime by itself, on a network that the test plays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use weir_host::plugin::store::{MemoryDisk, Store};
use weir_host::plugin::{
    Caller, CompilerConfig, PluginError, PluginInfo, PluginPolicy, PluginSettings, PluginSource, Plugins,
    PluginsConfig, Preemption, Signer,
};
use weir_host::runtime::Runtime;

use crate::mock_network::MockNetwork;
use crate::node::PATIENCE;

/// A key that signs the same every time, as a real one does.
pub struct TestKey(pub u8);

impl Signer for TestKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [self.0; 64];
        signature.iter_mut().zip(message).for_each(|(byte, of)| *byte ^= of);
        signature
    }
}

/// Plugins, and the network they are on.
pub struct Bench {
    /// The network.
    pub network: Arc<MockNetwork>,
    /// The plugins.
    pub plugins: Plugins,
}

impl Bench {
    /// Starts a runtime without plugins.
    pub fn start(policy: PluginPolicy, engine: CompilerConfig) -> Self {
        Self::start_with(policy, engine, Preemption::Epochs)
    }

    /// Starts one whose long turns are stopped in another way.
    ///
    /// # Panics
    /// When this machine cannot run WebAssembly.
    pub fn start_with(policy: PluginPolicy, engine: CompilerConfig, preemption: Preemption) -> Self {
        let network = Arc::new(MockNetwork::default());
        let runtime = match Runtime::system() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no randomness: {error}"),
        };
        let config = PluginsConfig {
            store: Store::in_memory(&MemoryDisk::default()),
            runtime,
            network: network.clone(),
            policy,
            preemption,
            signer: Arc::new(TestKey(7)),
            compiler: engine,
        };
        match Plugins::start(config) {
            Ok(plugins) => Self { network, plugins },
            Err(error) => panic!("no engine: {error}"),
        }
    }

    /// Loads a file.
    ///
    /// # Errors
    /// Why it is not loaded.
    pub async fn load(&self, bytes: Vec<u8>, settings: PluginSettings) -> Result<PluginInfo, PluginError> {
        self.plugins.load(PluginSource { bytes, path: Some("x.wasm".into()), settings }).await
    }

    /// Calls a command.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(&self, plugin: &str, command: &str, body: Value) -> Result<Value> {
        let caller = Caller::Operator("test".to_owned());
        let body = Bytes::from(serde_json::to_vec(&body)?);
        let answer = self.plugins.call(plugin, command, body, caller, PATIENCE).await;
        Ok(serde_json::from_slice(&answer.with_context(|| format!("{plugin} {command}"))?)?)
    }

    /// What is known of a plugin.
    ///
    /// # Panics
    /// When no plugin has this name.
    pub fn info(&self, plugin: &str) -> PluginInfo {
        let all = self.plugins.list();
        match all.into_iter().find(|info| info.name == plugin) {
            Some(info) => info,
            None => panic!("{plugin} is not loaded"),
        }
    }
}

/// Memory of a process that is really there, in bytes.
///
/// # Errors
/// Where the system does not tell.
pub fn resident(process: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

/// CPU time that a process has used, all threads together.
///
/// # Errors
/// Where the system does not tell.
pub fn cpu_time(process: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may have blanks; the 12th and 13th field are ticks of 10 ms.
    let (_, rest) = stat.rsplit_once(')').context("a name")?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
