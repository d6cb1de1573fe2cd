// STUB
//! (stands in for the plugin runtime)
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

/// Settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginSettings {
    /// For the plugin.
    pub config: serde_json::Value,
    /// Granted.
    pub grants: Vec<String>,
}

/// What to load.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// The file's content.
    pub bytes: Vec<u8>,
    /// Where it was.
    pub path: Option<PathBuf>,
    /// What the operator says.
    pub settings: PluginSettings,
}

/// One plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// State.
    pub state: &'static str,
    /// Protocols.
    pub protocols: Vec<String>,
    /// Revision.
    pub revision: u64,
}

/// An upgrade.
#[derive(Debug, Clone, Serialize)]
pub struct UpgradeReport {
    /// After.
    pub plugin: PluginInfo,
    /// Before.
    pub from_version: String,
    /// Pause.
    pub pause_us: u64,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No wasm.
    #[error("`{0}` is no WebAssembly file: build it with `cargo xtask`")]
    NotWasm(String),
    /// Not there.
    #[error("no plugin is called `{0}`; `weir plugin list` shows those that are loaded")]
    Unknown(String),
    /// There already.
    #[error("a plugin `{0}` is loaded already: use `weir plugin upgrade {0} FILE`")]
    Loaded(String),
}

impl PluginError {
    /// Name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => "not-wasm",
            Self::Unknown(_) => "unknown-plugin",
            Self::Loaded(_) => "already-loaded",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Token name.
    Operator(String),
    /// Plugin name.
    Plugin(String),
}

/// Why no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not there.
    #[error("no plugin is called `{0}`")]
    UnknownPlugin(String),
}

impl CallError {
    /// Name.
    pub fn code(&self) -> &'static str {
        "unknown-plugin"
    }
}

/// All plugins.
#[derive(Default)]
pub struct Plugins(Mutex<BTreeMap<String, PluginInfo>>);

impl Plugins {
    fn info(source: &PluginSource, revision: u64) -> Result<PluginInfo, PluginError> {
        let stem = |p: &PathBuf| p.file_stem().map(|s| s.to_string_lossy().into_owned());
        let name = source.path.as_ref().and_then(stem).unwrap_or_else(|| "stub".into());
        if !source.bytes.starts_with(b"\0asm") {
            return Err(PluginError::NotWasm(name));
        }
        Ok(PluginInfo { name, version: "0.1.0".into(), state: "running", protocols: vec!["/stub/1".into()], revision })
    }

    /// Load.
    pub async fn load(&self, source: PluginSource) -> Result<PluginInfo, PluginError> {
        let info = Self::info(&source, 1)?;
        let mut all = self.0.lock().expect("stub");
        if all.contains_key(&info.name) {
            return Err(PluginError::Loaded(info.name));
        }
        all.insert(info.name.clone(), info.clone());
        Ok(info)
    }

    /// Unload.
    pub async fn unload(&self, name: &str) -> Result<PluginInfo, PluginError> {
        self.0.lock().expect("stub").remove(name).ok_or_else(|| PluginError::Unknown(name.into()))
    }

    /// Upgrade.
    pub async fn upgrade(&self, name: &str, source: PluginSource) -> Result<UpgradeReport, PluginError> {
        let mut all = self.0.lock().expect("stub");
        let old = all.get_mut(name).ok_or_else(|| PluginError::Unknown(name.into()))?;
        Self::info(&source, 1)?;
        old.revision += 1;
        Ok(UpgradeReport { plugin: old.clone(), from_version: "0.1.0".into(), pause_us: 12 })
    }

    /// List.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.0.lock().expect("stub").values().cloned().collect()
    }

    /// Call.
    pub async fn call(
        &self,
        plugin: &str,
        _command: &str,
        body: Bytes,
        _caller: Caller,
        _timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let known = self.0.lock().expect("stub").contains_key(plugin);
        if known { Ok(body) } else { Err(CallError::UnknownPlugin(plugin.into())) }
    }
}
