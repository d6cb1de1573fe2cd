//! Plugins as the operator handles them: which settings count, what is loaded at start, what is kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::dropin::{Dropin, Problem, files};
use super::{Node, OperateError};
use crate::config::{Config, PluginOverrides};
use crate::host::Host;
use crate::plugin::{
    ChangeOptions, Digest, KeptPlugin, PluginBudgets, PluginError, PluginInfo, PluginSettings, PluginSource, Rollback,
    UpgradeReport,
};

/// Largest plugin file, in bytes. The largest real ones, whole Python interpreters, stay below 40 MiB.
pub const MAX_PLUGIN_FILE: usize = 64 << 20;

/// A plugin somebody wants to have loaded.
#[derive(Debug, Clone, Default)]
pub struct PluginRequest {
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// Its name or path where it came from: its stem finds `[plugins.NAME]` as the plugin's own name does,
    /// which counts more, and messages name it.
    pub file: Option<PathBuf>,
    /// What came with it.
    pub settings: PluginOverrides,
    /// The content of its `.sig`.
    pub signature: Option<String>,
    /// It may have a store that belongs to another.
    pub adopt: bool,
    /// An upgrade that does not ask the old revision for its memory.
    pub skip_snapshot: bool,
    /// A load that brings back the newest copy of the store that the plugin can read.
    pub restore_store: bool,
    /// Put it into the plugin folder, so that it is loaded again after a restart.
    pub save: bool,
}

/// A file in the plugin folder that is not loaded, or not as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct FailedPlugin {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub error: Problem,
}

/// A result, and the file in the plugin folder it was saved to.
#[derive(Debug, Clone)]
pub struct Saved<T> {
    /// What was done.
    pub value: T,
    /// `None` when it was not to be saved.
    pub saved: Option<PathBuf>,
}

/// What became of a plugin that was to run, whether or not it ran before.
#[derive(Debug, Clone)]
pub enum LoadedOrUpgraded {
    /// No plugin of its name ran.
    Loaded(Saved<PluginInfo>),
    /// It took the place of the one that ran.
    Upgraded(Saved<UpgradeReport>),
}

/// What unloading did.
#[derive(Debug, Clone, Serialize)]
pub struct Unloaded {
    /// What was unloaded.
    pub plugin: PluginInfo,
    /// The file in the plugin folder from which it will be loaded again at the next start.
    pub file: Option<PathBuf>,
    /// What that file is called now, so that it is not loaded again.
    pub put_away: Option<PathBuf>,
}

pub(super) struct PluginDesk {
    host: Host,
    pub(super) dropin: Dropin,
    config: Config,
    /// Whether the plugin folder could be seen the last time.
    visible: AtomicBool,
    /// One change at a time: the limit and the plugin folder are looked at first and changed later.
    turn: tokio::sync::Mutex<()>,
}

impl PluginDesk {
    pub(super) fn new(host: Host, folder: PathBuf, config: &Config) -> Self {
        Self {
            host,
            dropin: Dropin::new(folder),
            config: config.clone(),
            visible: AtomicBool::new(true),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Loads every `.wasm` file of the folder, in the order of their names. Reports what cannot be loaded.
    pub(super) async fn load_folder(&self) {
        self.look(true).await;
    }

    /// Whether the folder is to be looked at while the node runs.
    pub(super) fn watches(&self) -> bool {
        self.config.plugin_watch
    }

    /// Notes whether the folder could be seen; true when that is news.
    pub(super) fn listed(&self, visible: bool) -> bool {
        self.visible.swap(visible, Ordering::Relaxed) != visible
    }

    async fn load(&self, request: PluginRequest) -> Result<Saved<PluginInfo>, OperateError> {
        let _turn = self.turn.lock().await;
        let plugin = self.put_in(&request, false).await?;
        let saved = self.settle(&plugin.name, &plugin.digest, request).await?;
        Ok(Saved { value: plugin, saved })
    }

    async fn put_in(&self, request: &PluginRequest, boot: bool) -> Result<PluginInfo, OperateError> {
        let most = self.config.plugins.max_plugins;
        if self.host.plugins().list().len() >= most as usize {
            return Err(OperateError::TooManyPlugins(most));
        }
        // What the plugin calls itself is known when it was looked at; until then there is the name of its file.
        let by_file = self.configured_for(stem(request.file.as_deref()));
        let settings = |name: &str| self.configured_for(Some(name)).or(&by_file).or(&request.settings);
        let named = |name: &str, _| self.affordable(name, settings(name).into());
        let (adopt, restore_store, signature) = (request.adopt, request.restore_store, request.signature.clone());
        let options = ChangeOptions { boot, signature, adopt, restore_store, ..ChangeOptions::default() };
        let before_named = by_file.clone().or(&request.settings);
        Ok(self.host.plugins().load_with(source(request, before_named.into()), named, options).await?)
    }

    async fn upgrade(&self, name: &str, request: PluginRequest) -> Result<Saved<UpgradeReport>, OperateError> {
        let _turn = self.turn.lock().await;
        // Whoever names no settings gets those in force, and no capability more than the running revision uses.
        let running = self.host.plugins().settings(name);
        let report = self.put_in_place(name, &request, running).await?;
        let saved = self.settle(name, &report.plugin.digest, request).await?;
        Ok(Saved { value: report, saved })
    }

    async fn put_in_place(
        &self,
        name: &str,
        request: &PluginRequest,
        running: Option<PluginSettings>,
    ) -> Result<UpgradeReport, OperateError> {
        let configured = self.configured_for(Some(name)).or(&self.configured_for(stem(request.file.as_deref())));
        let settings = inherited(configured.or(&request.settings), running);
        let settings = self.affordable(name, settings)?;
        let (adopt, skip_snapshot, signature) = (request.adopt, request.skip_snapshot, request.signature.clone());
        let options = ChangeOptions { signature, adopt, skip_snapshot, ..ChangeOptions::default() };
        Ok(self.host.plugins().upgrade_with(name, source(request, settings), options).await?)
    }

    async fn unload(&self, name: &str, save: bool) -> Result<Unloaded, OperateError> {
        let _turn = self.turn.lock().await;
        let plugin = self.host.plugins().unload(name).await?;
        let file = self.dropin.state().file_of(name).map(Path::to_owned).filter(|file| file.exists());
        self.dropin.unloaded(name);
        let put_away = match file.clone().filter(|_| save) {
            None => None,
            Some(file) => {
                let away = tokio::task::spawn_blocking(move || files::put_away(&file)).await;
                let not_saved = |problem| OperateError::StillSaved { plugin: name.to_owned(), problem };
                Some(away.unwrap_or_else(|error| Err(error.to_string())).map_err(not_saved)?)
            }
        };
        Ok(Unloaded { plugin, file: file.filter(|_| put_away.is_none()), put_away })
    }

    async fn rollback(&self, name: &str, how: Rollback) -> Result<UpgradeReport, OperateError> {
        let _turn = self.turn.lock().await;
        Ok(self.host.plugins().rollback(name, how).await?)
    }

    /// A file of the folder is gone. Its plugin stays when it has another by now: whoever upgraded it while this waited
    /// for its turn has saved it.
    pub(super) async fn unload_for_folder(&self, name: &str) -> Result<Option<PluginInfo>, OperateError> {
        let _turn = self.turn.lock().await;
        if self.dropin.state().file_of(name).is_some() {
            return Ok(None);
        }
        Ok(Some(self.host.plugins().unload(name).await?))
    }

    /// A file of the folder is to be loaded: the name of its plugin.
    pub(super) async fn load_for_folder(
        &self,
        request: PluginRequest,
        digest: Digest,
        boot: bool,
    ) -> Result<String, OperateError> {
        let _turn = self.turn.lock().await;
        // Whoever starts a node again has not changed his mind about a rollback; whoever puts a file there has.
        let kept = if boot { self.host.plugins().instead_of(&digest).await? } else { None };
        if let Some(kept) = kept {
            return self.load_kept(kept, request).await;
        }
        match self.put_in(&request, boot).await {
            // The same content runs already, loaded by hand: from now on this is its file.
            Err(OperateError::Plugin(PluginError::NameTaken { plugin })) if self.runs(&plugin, &digest) => Ok(plugin),
            outcome => outcome.map(|plugin| plugin.name),
        }
    }

    async fn load_kept(&self, kept: KeptPlugin, request: PluginRequest) -> Result<String, OperateError> {
        let KeptPlugin { name, version, source, signature } = kept;
        let file = request.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
        tracing::warn!(plugin = name, version, "{file} was rolled back from: the version before is loaded instead");
        let options = ChangeOptions { boot: true, signature, ..ChangeOptions::default() };
        Ok(self.host.plugins().load_with(source, |_, settings| Ok(settings), options).await?.name)
    }

    fn runs(&self, plugin: &str, digest: &Digest) -> bool {
        let digest = digest.to_string();
        self.host.plugins().list().iter().any(|info| info.name == plugin && info.digest == digest)
    }

    /// A file of the folder is to take the place of a plugin: its version then. What lies beside the file is all that
    /// is said, so that what is taken out there is not in force any more.
    pub(super) async fn upgrade_for_folder(&self, name: &str, request: PluginRequest) -> Result<String, OperateError> {
        let _turn = self.turn.lock().await;
        let report = self.put_in_place(name, &request, None).await?;
        Ok(report.plugin.version)
    }

    /// Refuses settings with which the node could need more memory than it may.
    fn affordable(&self, name: &str, settings: PluginSettings) -> Result<PluginSettings, PluginError> {
        let plugins = self.host.plugins();
        let budgets = |info: PluginInfo| {
            let settings = plugins.settings(&info.name).unwrap_or_default();
            (info.name, settings.budgets)
        };
        let mut loaded: BTreeMap<_, _> = plugins.list().into_iter().map(budgets).collect();
        loaded.insert(name.to_owned(), settings.budgets.clone());
        match self.config.memory_bound_with(&loaded).exceeds(self.config.limits.memory_limit) {
            None => Ok(settings),
            Some(exceeded) => {
                Err(PluginError::OverMemoryLimit { plugin: name.to_owned(), reason: exceeded.to_string() })
            }
        }
    }

    /// What the configuration says counts more than what comes with a plugin: it is the operator's policy.
    fn configured_for(&self, name: Option<&str>) -> PluginOverrides {
        name.and_then(|name| self.config.plugin_settings.get(name)).cloned().unwrap_or_default()
    }

    /// Saves what now runs when that was asked for, and tells the folder whose file is whose.
    async fn settle(&self, name: &str, digest: &str, request: PluginRequest) -> Result<Option<PathBuf>, OperateError> {
        let folder = self.dropin.folder.clone();
        let digest = digest.parse().unwrap_or_else(|_| Digest::of(&request.bytes));
        let own = request.file.clone().filter(|file| file.parent() == Some(&folder));
        if let Some(own) = own.as_ref().filter(|_| !request.save) {
            self.dropin.saved(name, own, digest);
        }
        if !request.save {
            return Ok(None);
        }
        let known = own.or_else(|| self.dropin.state().file_of(name).map(Path::to_owned));
        let target = known.unwrap_or_else(|| folder.join(format!("{name}.wasm")));
        // Told first: whoever looks at the folder meanwhile must not take the file for a change of somebody else's.
        self.dropin.saved(name, &target, digest);
        let path = target.clone();
        let saved = tokio::task::spawn_blocking(move || files::save(&folder, &path, &request)).await;
        let not_saved = |problem: String| OperateError::NotSaved { plugin: name.to_owned(), problem };
        saved.unwrap_or_else(|error| Err(error.to_string())).map_err(not_saved)?;
        Ok(Some(target))
    }
}

/// What is said, and where nothing is said what is in force.
fn inherited(said: PluginOverrides, running: Option<PluginSettings>) -> PluginSettings {
    let Some(running) = running else { return said.into() };
    PluginSettings {
        grants: said.grants.unwrap_or(running.grants),
        config: said.config.unwrap_or(running.config),
        durability: said.durability.or(running.durability),
        budgets: said.budgets.read().unwrap_or_default().or(&running.budgets),
    }
}

impl Node {
    /// Loads a plugin.
    ///
    /// # Errors
    /// When there are too many, the runtime refuses it, or it runs but could not be saved.
    pub async fn load_plugin(&self, request: PluginRequest) -> Result<Saved<PluginInfo>, OperateError> {
        self.desk.load(request).await
    }

    /// Loads a plugin, or upgrades the one of its name that runs.
    ///
    /// # Errors
    /// As for [`Node::load_plugin`] and [`Node::upgrade_plugin`].
    pub async fn load_or_upgrade_plugin(&self, request: PluginRequest) -> Result<LoadedOrUpgraded, OperateError> {
        match self.desk.load(request.clone()).await {
            // What it calls itself is known only when it was looked at.
            Err(OperateError::Plugin(PluginError::NameTaken { plugin })) => {
                self.desk.upgrade(&plugin, request).await.map(LoadedOrUpgraded::Upgraded)
            }
            loaded => loaded.map(LoadedOrUpgraded::Loaded),
        }
    }

    /// Replaces a running plugin. Settings that nobody names stay as they were.
    ///
    /// # Errors
    /// As for [`Node::load_plugin`]; the old revision runs on unless the error says that the new one runs.
    pub async fn upgrade_plugin(
        &self,
        name: &str,
        request: PluginRequest,
    ) -> Result<Saved<UpgradeReport>, OperateError> {
        self.desk.upgrade(name, request).await
    }

    /// Ends a plugin. Its file stays where it is, or, with `save`, gets a name under which it is not loaded again.
    ///
    /// # Errors
    /// When no plugin has this name, or it is unloaded and its file could not be renamed.
    pub async fn unload_plugin(&self, name: &str, save: bool) -> Result<Unloaded, OperateError> {
        self.desk.unload(name, save).await
    }

    /// The budgets that the configuration sets for a plugin of this name, loaded or not.
    pub fn configured_budgets(&self, name: &str) -> PluginBudgets {
        // Budgets that cannot be were refused where they were read.
        self.desk.configured_for(Some(name)).budgets.read().unwrap_or_default()
    }

    /// Puts the revision that ran before in the place of the running one.
    ///
    /// # Errors
    /// When there is none, or it cannot run on the store; what runs goes on.
    pub async fn rollback_plugin(&self, name: &str, how: Rollback) -> Result<UpgradeReport, OperateError> {
        self.desk.rollback(name, how).await
    }

    /// The files in the plugin folder that are not loaded, or not as they are now.
    pub fn failed_plugins(&self) -> Vec<FailedPlugin> {
        let failed = |(file, error): (&Path, &Problem)| FailedPlugin { file: file.to_owned(), error: error.clone() };
        self.desk.dropin.state().problems().map(failed).collect()
    }
}

fn stem(file: Option<&Path>) -> Option<&str> {
    file.and_then(Path::file_stem).and_then(OsStr::to_str)
}

fn source(request: &PluginRequest, settings: PluginSettings) -> PluginSource {
    PluginSource { bytes: request.bytes.clone(), path: request.file.clone(), settings }
}
