//! A plugin's store taken out, put in and emptied by its operator.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::lifecycle::LayoutRecord;
use super::manifest::check_name;
use super::plugins::Plugins;
use super::records::RecordError;
use super::store::{
    ArchiveError, ArchiveHead, ArchiveLimits, ArchiveReader, ArchiveTotals, ArchiveWriter, Namespace, Reader, Staging,
    StoreError,
};
use super::{PluginBudgets, PluginError};

/// Stores that may be on their way in or out at once. Each keeps a piece of about a mebibyte in memory.
pub(super) const MOST_TRANSFERS: usize = 4;

/// Why a store was not exported, imported or emptied.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferError {
    /// The plugin uses it.
    #[error(
        "plugin {plugin} is loaded and uses its store: `weir plugin unload {plugin}` first, and load it again when the \
             store is {becomes}"
    )]
    Loaded {
        /// The plugin.
        plugin: String,
        /// What the store is to become.
        becomes: &'static str,
    },
    /// There is none.
    #[error("no plugin named {plugin} has anything in the store of this node")]
    Unknown {
        /// The name.
        plugin: String,
    },
    /// No plugin can have the name.
    #[error("{reason}")]
    BadName {
        /// The rule.
        reason: String,
    },
    /// There is one already.
    #[error(
        "plugin {plugin} has {bytes} bytes in its store, which the import would replace: say so with --replace, and \
             export it before if you may want it back"
    )]
    NotEmpty {
        /// The plugin.
        plugin: String,
        /// Bytes of keys and values.
        bytes: u64,
    },
    /// The file is of another plugin.
    #[error("the file is the store of plugin {found}, not of {plugin}: say with --other that this is meant")]
    OtherPlugin {
        /// The plugin it was to be.
        plugin: String,
        /// The one it is of.
        found: String,
    },
    /// The file is not taken.
    #[error(transparent)]
    File(#[from] ArchiveError),
    /// Too many at once.
    #[error("{MOST_TRANSFERS} stores are being exported or imported: try again when one of them is done")]
    Busy,
    /// The durable store refused.
    #[error("the store of plugin {plugin} failed: the node failed to {source}")]
    Store {
        /// The plugin.
        plugin: String,
        /// What the store says.
        source: StoreError,
    },
    /// The layout of a store is not known, or cannot be noted.
    #[error("the layout of the store of plugin {plugin} cannot be read or noted: {reason}")]
    Layout {
        /// The plugin.
        plugin: String,
        /// What is wrong with the record of it.
        reason: String,
    },
}

impl TransferError {
    /// The stable name of the case, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "plugin-loaded",
            Self::Unknown { .. } => "unknown-store",
            Self::BadName { .. } => "bad-name",
            Self::NotEmpty { .. } => "store-not-empty",
            Self::OtherPlugin { .. } => "other-plugin",
            Self::File(error) => error.code(),
            Self::Busy => "busy",
            Self::Store { .. } | Self::Layout { .. } => "store-failed",
        }
    }

    /// What an operator does next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::Loaded { plugin, .. } => format!("run `weir plugin unload {plugin}`"),
            Self::Unknown { .. } => "run `weir plugin list`".to_owned(),
            Self::BadName { .. } => "give the name of a plugin".to_owned(),
            Self::NotEmpty { .. } => "say --replace, or export what is there first".to_owned(),
            Self::OtherPlugin { found, .. } => format!("import it as {found}, or say --other"),
            Self::File(ArchiveError::TooLarge { fix, .. }) => (*fix).to_owned(),
            Self::File(_) => "run `weir plugin store export NAME FILE` where the store is".to_owned(),
            Self::Busy => "try again when one of the others is done".to_owned(),
            Self::Store { .. } | Self::Layout { .. } => {
                "look at the node's disk and its log, then restart the node".to_owned()
            }
        }
    }
}

/// What an import may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// What the plugin may use, where that is not what all plugins may: the file must keep its limits of the store.
    pub budgets: PluginBudgets,
    /// Replace what is there.
    pub replace: bool,
    /// Take the store of a plugin with another name.
    pub other: bool,
}

fn failed(plugin: &str) -> impl FnOnce(StoreError) -> TransferError {
    let plugin = plugin.to_owned();
    move |source| TransferError::Store { plugin, source }
}

fn not_noted(plugin: &str) -> impl FnOnce(RecordError) -> TransferError {
    let plugin = plugin.to_owned();
    move |error| match error {
        RecordError::Store(source) => TransferError::Store { plugin, source },
        unreadable => TransferError::Layout { plugin, reason: unreadable.to_string() },
    }
}

fn permit(transfers: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, TransferError> {
    transfers.clone().try_acquire_owned().map_err(|_: TryAcquireError| TransferError::Busy)
}

/// A store on its way out: as it was at one moment between two turns, whether the plugin runs or not.
#[derive(Debug)]
pub struct StoreExport {
    plugin: String,
    bytes: u64,
    start: Option<Bytes>,
    writer: Option<ArchiveWriter>,
    reader: Reader,
    _permit: OwnedSemaphorePermit,
}

impl StoreExport {
    /// Bytes of keys and values, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece of the file; nothing after the last. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the disk cannot be read. The file has no end then and nobody takes it for whole.
    pub fn piece(&mut self) -> Result<Option<Bytes>, TransferError> {
        if let Some(start) = self.start.take() {
            return Ok(Some(start));
        }
        let Some(writer) = &mut self.writer else { return Ok(None) };
        match self.reader.piece().map_err(failed(&self.plugin))? {
            Some(entries) => Ok(Some(writer.entries(&entries))),
            None => Ok(self.writer.take().map(|writer| writer.end().0)),
        }
    }
}

/// A store on its way in. Nobody sees anything of it before [`StoreImport::finish`]; dropped, it was never there.
#[derive(Debug)]
pub struct StoreImport {
    plugins: Plugins,
    plugin: String,
    options: ImportOptions,
    namespace: Namespace,
    staging: Staging,
    reader: ArchiveReader,
    _permit: OwnedSemaphorePermit,
}

impl StoreImport {
    /// Takes the next bytes of the file, of any number. Waits for the disk from time to time.
    ///
    /// # Errors
    /// When the file is not to be taken, or the disk failed.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let entries = self.reader.push(bytes)?;
        if let Some(ArchiveHead { plugin: found, .. }) = self.reader.head()
            && *found != self.plugin
            && !self.options.other
        {
            return Err(TransferError::OtherPlugin { plugin: self.plugin.clone(), found: found.clone() });
        }
        for (key, value) in entries {
            self.staging.put(key, value).await.map_err(failed(&self.plugin))?;
        }
        Ok(())
    }

    /// The file is at its end: what was in it becomes the plugin's store, all at one moment, and is on the disk.
    ///
    /// # Errors
    /// When the file is not whole, or the plugin was loaded meanwhile. Nothing has changed then.
    pub async fn finish(self) -> Result<ArchiveTotals, TransferError> {
        let Self { plugins, plugin, options, namespace, staging, reader, _permit } = self;
        let head = reader.head().cloned();
        let totals = reader.finish()?;
        let _alone = plugins.alone().await;
        plugins.free_for_import(&plugin, &namespace, &options)?;
        let layout = head.and_then(|head| {
            let (data_version, version) = (head.data_version?, head.version.unwrap_or_default());
            Some(LayoutRecord { data_version, version })
        });
        plugins.archive().replace(&plugin, staging, layout.as_ref()).await.map_err(not_noted(&plugin))?;
        Ok(totals)
    }
}

impl Plugins {
    /// Reads a plugin's store as it is now, into a file. The plugin may run; what it writes later is not in it.
    ///
    /// # Errors
    /// When there is no such store, or too many are on their way.
    pub async fn export_store(&self, plugin: &str) -> Result<StoreExport, TransferError> {
        let permit = permit(self.transfers())?;
        // Nothing is loaded or upgraded meanwhile, so the layout is that of what is read.
        let _alone = self.alone().await;
        let namespace = self.existing(plugin)?;
        let bytes = namespace.used();
        let reader = Reader::new(&namespace).await.map_err(failed(plugin))?;
        let unknown =
            |error: PluginError| TransferError::Layout { plugin: plugin.to_owned(), reason: error.to_string() };
        let layout = self.archive().layout(plugin).map_err(unknown)?;
        let (data_version, version) = layout.map(|layout| (layout.data_version, layout.version)).unzip();
        let exported_ms = self.unix_ms();
        let head = ArchiveHead { plugin: plugin.to_owned(), bytes, exported_ms, data_version, version };
        let (writer, start) = ArchiveWriter::begin(&head);
        let (plugin, start, writer) = (plugin.to_owned(), Some(start), Some(writer));
        Ok(StoreExport { plugin, bytes, start, writer, reader, _permit: permit })
    }

    /// Begins to put a file in the place of a plugin's store.
    ///
    /// # Errors
    /// When the plugin is loaded, its store is not empty and not to be replaced, or too many are on their way.
    pub async fn import_store(&self, plugin: &str, options: ImportOptions) -> Result<StoreImport, TransferError> {
        let permit = permit(self.transfers())?;
        check_name(plugin).map_err(|reason| TransferError::BadName { reason })?;
        let namespace = self.store().namespace(plugin);
        self.free_for_import(plugin, &namespace, &options)?;
        let policy = options.budgets.apply(self.policy());
        let (key, value) = (policy.store_key, policy.store_value);
        let reader = ArchiveReader::new(ArchiveLimits { key, value, bytes: policy.store_bytes });
        let staging = Staging::begin(self.store()).await.map_err(failed(plugin))?;
        let (plugins, plugin) = (self.clone(), plugin.to_owned());
        Ok(StoreImport { plugins, plugin, options, namespace, staging, reader, _permit: permit })
    }

    /// Forgets all that a plugin keeps: bytes of keys and values.
    ///
    /// # Errors
    /// When the plugin is loaded or keeps nothing.
    pub async fn purge_store(&self, plugin: &str) -> Result<u64, TransferError> {
        let _alone = self.alone().await;
        self.free(plugin, "empty")?;
        let bytes = self.existing(plugin)?.used();
        let nothing = Staging::begin(self.store()).await.map_err(failed(plugin))?;
        self.archive().replace(plugin, nothing, None).await.map_err(not_noted(plugin))?;
        Ok(bytes)
    }

    /// The namespace of a plugin that keeps anything, loaded or not.
    fn existing(&self, plugin: &str) -> Result<Namespace, TransferError> {
        match self.store().namespaces().iter().any(|namespace| namespace.name == plugin) {
            true => Ok(self.store().namespace(plugin)),
            false => Err(TransferError::Unknown { plugin: plugin.to_owned() }),
        }
    }

    fn free(&self, plugin: &str, becomes: &'static str) -> Result<(), TransferError> {
        if self.is_loaded(plugin) { Err(TransferError::Loaded { plugin: plugin.to_owned(), becomes }) } else { Ok(()) }
    }

    fn free_for_import(
        &self,
        plugin: &str,
        namespace: &Namespace,
        options: &ImportOptions,
    ) -> Result<(), TransferError> {
        self.free(plugin, "there")?;
        match namespace.used() {
            bytes if namespace.exists() && !options.replace => {
                Err(TransferError::NotEmpty { plugin: plugin.to_owned(), bytes })
            }
            _ => Ok(()),
        }
    }
}
