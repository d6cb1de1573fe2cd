//! One loaded version of a plugin: compiled, described, checked and granted, before anything of it runs for real.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::Component;

use super::engine::WasmEngine;
use super::grants::{GrantError, Grants};
use super::instance::{Failed, failure};
use super::limiter::Limiter;
use super::manifest::{Manifest, check_name};
use super::meter::Meter;
use super::store::Durability;
use super::wasi::{self, Sandbox};
use super::{CodeOrigin, PluginBudgets, PluginError, PluginPolicy, abi};

/// The operator's part of a plugin.
#[derive(Debug, Clone, Default)]
pub struct PluginSettings {
    /// Handed to the plugin as JSON.
    pub config: serde_json::Value,
    /// Capabilities it may have if it asks for them.
    pub grants: Vec<String>,
    /// When its turns' effects may leave; what [`PluginPolicy::durability`] says when nothing is said.
    pub durability: Option<Durability>,
    /// What it may use, where that is not what all plugins may.
    pub budgets: PluginBudgets,
}

/// A file to load.
#[derive(Debug, Clone)]
pub struct PluginSource {
    /// A component, or a core module that carries its component type.
    pub bytes: Vec<u8>,
    /// Where it came from; for messages, and for what they say about its settings.
    pub path: Option<PathBuf>,
    /// The operator's part.
    pub settings: PluginSettings,
}

impl PluginSource {
    fn file(&self) -> String {
        self.path.as_ref().map_or_else(|| "the plugin file".to_owned(), |path| path.display().to_string())
    }
}

/// See the module.
pub(super) struct Revision {
    /// Counts the revisions of all plugins.
    pub(super) number: u64,
    /// The SHA-256 of the file.
    pub(super) digest: String,
    pub(super) manifest: Manifest,
    pub(super) grants: Grants,
    /// Where its code came from.
    pub(super) code: CodeOrigin,
    /// What it may use.
    pub(super) policy: Arc<PluginPolicy>,
    /// The plugin's configuration as JSON text.
    pub(super) config: String,
    /// When what its turns stage may leave.
    pub(super) durability: Durability,
    pub(super) pre: abi::PluginPre<super::instance::InstanceState>,
}

impl Revision {
    /// Does everything that can be done beside the running node. Compiles on a thread for blocking work.
    pub(super) async fn prepare(
        engine: &Arc<WasmEngine>,
        node: &Arc<PluginPolicy>,
        source: PluginSource,
        named: impl FnOnce(&str, PluginSettings) -> Result<PluginSettings, PluginError>,
        number: u64,
    ) -> Result<Self, PluginError> {
        let file = source.file();
        let (settings, path) = (source.settings.clone(), source.path.clone());
        let digest = super::digest::sha256(&source.bytes);
        let (component, code) = compile(engine, node, source).await?;
        // What is set for the plugin's name is not known before it has told its name.
        let raw = describe(engine, &Arc::new(settings.budgets.apply(node)), &file, &component).await?;
        let refused = |reason| PluginError::Manifest { file: file.clone(), reason };
        check_name(&raw.name).map_err(refused)?;
        let settings = named(&raw.name, settings)?;
        let policy = Arc::new(settings.budgets.apply(node));
        let manifest = Manifest::check(raw, policy.protocols).map_err(refused)?;
        let mut asked = manifest.capabilities.clone();
        let wasi = engine.imports_wasi(&component);
        if wasi && !asked.iter().any(|name| name == wasi::CAPABILITY) {
            // Who imports it asks for it: what makes components often knows no manifest.
            asked.push(wasi::CAPABILITY.to_owned());
        }
        let grants = Grants::decide(&asked, &settings.grants).map_err(|error| match error {
            GrantError::Missing(missing) => {
                let all = asked.clone();
                PluginError::MissingGrant {
                    plugin: manifest.name.clone(),
                    settings: section(&path, &manifest),
                    missing,
                    all,
                }
            }
            GrantError::Unknown(name) => refused(format!(
                "it asks for the capability `{name}`, which does not exist; there are call:NAME, protocol:/prefix, \
                 sign and wasi"
            )),
        })?;
        let pre = engine.link(&file, &component, wasi)?;
        let pre = abi::PluginPre::new(pre).map_err(|error| {
            let found = format!("a component whose exports do not fit ({error:#})");
            PluginError::OtherWorld { file: file.clone(), found }
        })?;
        let config = if settings.config.is_null() { "{}".to_owned() } else { settings.config.to_string() };
        let durability = settings.durability.unwrap_or(policy.durability);
        Ok(Self { number, digest, manifest, grants, policy, code, config, durability, pre })
    }
}

/// The name under which an operator's settings are looked for.
fn section(path: &Option<PathBuf>, manifest: &Manifest) -> String {
    let stem = path.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str);
    stem.unwrap_or(&manifest.name).to_owned()
}

async fn compile(
    engine: &Arc<WasmEngine>,
    policy: &Arc<PluginPolicy>,
    source: PluginSource,
) -> Result<(Component, CodeOrigin), PluginError> {
    let (compiler, policy) = (engine.clone(), policy.clone());
    let work = move || {
        let file = source.file();
        compiler.compiler().code(&file, &source.bytes, policy.file)
    };
    if engine.works_inline() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::Runtime { reason: format!("the compiler stopped: {error}") })?
}

/// Asks for the manifest in a sandbox where every import traps.
async fn describe(
    engine: &Arc<WasmEngine>,
    policy: &Arc<PluginPolicy>,
    file: &str,
    component: &Component,
) -> Result<abi::Manifest, PluginError> {
    let pre = abi::PluginPre::new(engine.link_sandbox(file, component)?).map_err(|error| {
        let found = format!("a component whose exports do not fit ({error:#})");
        PluginError::OtherWorld { file: file.to_owned(), found }
    })?;
    let meter = Arc::new(Meter::default());
    let mut store = engine.store(Sandbox::new(Limiter::new(policy)), &meter);
    store.set_hostcall_fuel(policy.host_call);
    let refused = |reason: String| PluginError::Manifest { file: file.to_owned(), reason };
    engine.refill(&mut store, &meter, policy.start_time, policy).map_err(|error| refused(format!("{error:#}")))?;
    let call = async move {
        let manifest = async {
            let plugin = pre.instantiate_async(&mut store).await?;
            plugin.weir_plugin_handler().call_describe(&mut store).await
        };
        let manifest = manifest.await;
        manifest.map_err(|error| failure(Failed::Call(error), None, store.data().limiter.refused))
    };
    let Some(outcome) = engine.run(Box::pin(call), &meter).await else {
        return Err(PluginError::Runtime { reason: "the node is stopping".to_owned() });
    };
    outcome.map_err(|failure| {
        let hint = "`describe` may not call any import, and must not depend on configuration";
        let place = failure.backtrace.join(" < ");
        refused(format!("`describe` failed: {} (in {place}); {hint}", failure.reason))
    })
}
