//! Plugins as the operator handles them: which settings count, what is loaded at start, what is kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{Node, OperateError};
use crate::config::{Config, PluginOverrides, format_size, read_plugin_file};
use crate::folder::{FolderError, write_atomically};
use crate::host::Host;
use crate::plugin::{PluginError, PluginInfo, PluginSettings, PluginSource, UpgradeReport};

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
    /// Put it into the plugin folder, so that it is loaded again after a restart.
    pub save: bool,
}

/// A file in the plugin folder that is not loaded.
#[derive(Debug, Clone, Serialize)]
pub struct FailedPlugin {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub error: FailedPluginError,
}

/// Why a file in the plugin folder is not loaded.
#[derive(Debug, Clone, Serialize)]
pub struct FailedPluginError {
    /// A name for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
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
}

/// What the desk remembers about a loaded plugin.
#[derive(Debug, Clone, Default)]
struct Remembered {
    settings: PluginOverrides,
    /// Its file in the plugin folder.
    file: Option<PathBuf>,
}

pub(super) struct PluginDesk {
    host: Host,
    folder: PathBuf,
    config: Config,
    remembered: Mutex<BTreeMap<String, Remembered>>,
    failed: Mutex<Vec<FailedPlugin>>,
    /// One change at a time: the limit and the plugin folder are looked at first and changed later.
    turn: tokio::sync::Mutex<()>,
}

impl PluginDesk {
    pub(super) fn new(host: Host, folder: PathBuf, config: &Config) -> Self {
        Self {
            host,
            folder,
            config: config.clone(),
            remembered: Mutex::default(),
            failed: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Loads every `.wasm` file of the folder, in the order of their names. Reports what cannot be loaded.
    pub(super) async fn load_folder(&self) {
        let files = match wasm_files(&self.folder) {
            Ok(files) => files,
            Err(error) => return tracing::error!("cannot read {}: {error}", self.folder.display()),
        };
        for file in files {
            let loaded = match read_plugin(&file).await {
                Ok(request) => self.load(request).await.map_err(|e| failure(e.code(), e.to_string())),
                Err(error) => Err(error),
            };
            match loaded {
                Ok(loaded) => tracing::info!(plugin = loaded.value.name, "loaded {}", file.display()),
                Err(error) => {
                    tracing::error!(code = error.code, "cannot load {}: {}", file.display(), error.message);
                    self.failed().push(FailedPlugin { file, error });
                }
            }
        }
    }

    async fn load(&self, request: PluginRequest) -> Result<Saved<PluginInfo>, OperateError> {
        let _turn = self.turn.lock().await;
        let most = self.config.plugins.max_plugins;
        if self.host.plugins().list().len() >= most as usize {
            return Err(OperateError::TooManyPlugins(most));
        }
        // What the plugin calls itself is known when it was looked at; until then there is the name of its file.
        let by_file = self.configured_for(stem(request.file.as_deref()));
        let settings = |name: &str| self.configured_for(Some(name)).or(&by_file).or(&request.settings);
        let named = |name: &str, _| self.affordable(name, settings(name).into());
        let before_named = by_file.clone().or(&request.settings);
        let plugin = self.host.plugins().load_named(source(&request, &before_named), named).await?;
        let settings = settings(&plugin.name);
        let saved = self.settle(&plugin.name, request, settings).await?;
        Ok(Saved { value: plugin, saved })
    }

    async fn upgrade(&self, name: &str, request: PluginRequest) -> Result<Saved<UpgradeReport>, OperateError> {
        let _turn = self.turn.lock().await;
        let before = self.remembered().get(name).cloned().unwrap_or_default();
        let configured = self.configured_for(Some(name)).or(&self.configured_for(stem(request.file.as_deref())));
        let settings = configured.or(&request.settings).or(&before.settings);
        let source = source(&request, &settings);
        self.affordable(name, source.settings.clone())?;
        let report = self.host.plugins().upgrade(name, source).await?;
        let saved = self.settle(name, request, settings).await?;
        Ok(Saved { value: report, saved })
    }

    async fn unload(&self, name: &str) -> Result<Unloaded, OperateError> {
        let _turn = self.turn.lock().await;
        let plugin = self.host.plugins().unload(name).await?;
        let remembered = self.remembered().remove(name).unwrap_or_default();
        Ok(Unloaded { plugin, file: remembered.file.filter(|file| file.exists()) })
    }

    /// Refuses settings with which the node could need more memory than it may.
    fn affordable(&self, name: &str, settings: PluginSettings) -> Result<PluginSettings, PluginError> {
        let budgets = |known: &Remembered| PluginSettings::from(known.settings.clone()).budgets;
        let mut loaded: BTreeMap<_, _> =
            self.remembered().iter().map(|(name, known)| (name.clone(), budgets(known))).collect();
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

    /// Remembers what now runs and saves it when that was asked for.
    async fn settle(
        &self,
        name: &str,
        request: PluginRequest,
        settings: PluginOverrides,
    ) -> Result<Option<PathBuf>, OperateError> {
        let own = request.file.clone().filter(|file| file.parent() == Some(&self.folder));
        let known = own.or_else(|| self.remembered().get(name).and_then(|known| known.file.clone()));
        let target = known.clone().unwrap_or_else(|| self.folder.join(format!("{name}.wasm")));
        self.remembered().insert(name.to_owned(), Remembered { settings, file: known });
        if !request.save {
            return Ok(None);
        }
        let (folder, path) = (self.folder.clone(), target.clone());
        let saved = tokio::task::spawn_blocking(move || save(&folder, &path, &request)).await;
        let not_saved = |problem: String| OperateError::NotSaved { plugin: name.to_owned(), problem };
        saved.unwrap_or_else(|error| Err(error.to_string())).map_err(not_saved)?;
        self.remembered().entry(name.to_owned()).or_default().file = Some(target.clone());
        self.failed().retain(|failed| failed.file != target);
        Ok(Some(target))
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Vec<FailedPlugin>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Ends a plugin. Files stay where they are.
    ///
    /// # Errors
    /// When no plugin has this name.
    pub async fn unload_plugin(&self, name: &str) -> Result<Unloaded, OperateError> {
        self.desk.unload(name).await
    }

    /// The files in the plugin folder that could not be loaded at start.
    pub fn failed_plugins(&self) -> Vec<FailedPlugin> {
        self.desk.failed().clone()
    }
}

fn failure(code: &'static str, message: String) -> FailedPluginError {
    FailedPluginError { code, message }
}

fn stem(file: Option<&Path>) -> Option<&str> {
    file.and_then(Path::file_stem).and_then(OsStr::to_str)
}

fn source(request: &PluginRequest, settings: &PluginOverrides) -> PluginSource {
    PluginSource { bytes: request.bytes.clone(), path: request.file.clone(), settings: settings.clone().into() }
}

fn wasm_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension() == Some(OsStr::new("wasm")));
    files.sort();
    Ok(files)
}

/// Reads a plugin's file and the settings beside it.
async fn read_plugin(file: &Path) -> Result<PluginRequest, FailedPluginError> {
    let unreadable = |error: io::Error| failure("plugin-unreadable", format!("cannot read the file: {error}"));
    let size = tokio::fs::metadata(file).await.map_err(unreadable)?.len();
    if size > MAX_PLUGIN_FILE as u64 {
        let (size, limit) = (format_size(size), format_size(MAX_PLUGIN_FILE as u64));
        return Err(failure("plugin-too-large", format!("{size} is more than a plugin may have ({limit})")));
    }
    let settings = read_plugin_file(file).map_err(|e| failure(e.code(), e.to_string()))?.unwrap_or_default();
    let bytes = tokio::fs::read(file).await.map_err(unreadable)?;
    Ok(PluginRequest { bytes, file: Some(file.to_owned()), settings, save: false })
}

/// Writes the settings first: a plugin must not be found at start without the grants it needs.
fn save(folder: &Path, target: &Path, request: &PluginRequest) -> Result<(), String> {
    let write = |path: &Path, content: &[u8]| {
        write_atomically(path, content).map_err(|e| FolderError::io("write", path)(e).to_string())
    };
    std::fs::create_dir_all(folder).map_err(|e| FolderError::io("create", folder)(e).to_string())?;
    if !request.settings.is_empty() {
        let text = toml::to_string(&request.settings).map_err(|e| format!("its settings do not fit TOML: {e}"))?;
        write(&target.with_extension("toml"), text.as_bytes())?;
    }
    write(target, &request.bytes)
}
