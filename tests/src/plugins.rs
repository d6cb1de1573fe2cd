//! The plugin runtime by itself, on a network that the test plays.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use weir_host::plugin::store::{MemoryDisk, Store};
use weir_host::plugin::{
    Caller, EngineConfig, PluginError, PluginInfo, PluginPolicy, PluginSettings, PluginSource, Plugins, PluginsConfig,
    Preemption, Signer,
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

/// What plugins are started with, on this network and store: stopped by time, compiled in this process.
///
/// # Panics
/// When the system has no randomness.
pub fn config(network: &Arc<MockNetwork>, store: Store, policy: PluginPolicy) -> PluginsConfig {
    let runtime = match Runtime::system() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no randomness: {error}"),
    };
    PluginsConfig {
        store,
        runtime,
        network: network.clone(),
        policy,
        preemption: Preemption::Epochs,
        signer: Arc::new(TestKey(7)),
        engine: EngineConfig::default(),
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
    pub fn start(policy: PluginPolicy, engine: EngineConfig) -> Self {
        Self::start_with(policy, engine, Preemption::Epochs)
    }

    /// Starts one whose long turns are stopped in another way.
    ///
    /// # Panics
    /// When this machine cannot run WebAssembly.
    pub fn start_with(policy: PluginPolicy, engine: EngineConfig, preemption: Preemption) -> Self {
        let network = Arc::new(MockNetwork::default());
        let config = config(&network, Store::in_memory(&MemoryDisk::default()), policy);
        let config = PluginsConfig { preemption, engine, ..config };
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
