//! A running node as its operator sees it: the host, and what of it is kept in the data folder.

mod access;
mod book;
mod dropin;
mod groups;
mod peers;
mod plugins;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

pub use access::{ChangedAccess, ListedAccess, ListedEntry};
pub use dropin::Problem;
pub(crate) use dropin::{Stamp, stamp};
pub use peers::RemovedPeer;
pub use plugins::{FailedPlugin, LoadedOrUpgraded, MAX_PLUGIN_FILE, PluginRequest, Saved, Unloaded};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, ConfigError, MemoryBound};
use crate::folder::{AccessBook, AccessList, Folder, FolderError, FolderLock, GroupBook, PeerBook};
use crate::host::{Environment, Host, HostConfig};
use crate::identity::{KeyError, NodeKey};
use crate::plugin::{PluginError, TransferError};
use crate::protocol::GroupError;
use crate::runtime::Runtime;
use crate::supervisor::WatchError;
use crate::transport::AccessEntry;
use access::AccessDesk;
use groups::GroupDesk;
use peers::KnownPeers;
use plugins::PluginDesk;

/// How long a plugin file that is being loaded may still take when the node ends.
const WATCH_GRACE: Duration = Duration::from_millis(100);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The host does not start.
    #[error("the node cannot start: {0:#}")]
    Host(anyhow::Error),
}

impl StartError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::Key(_) => "key-unusable",
            Self::Host(_) => "start-failed",
        }
    }
}

/// Why the node does not do what an operator asked for.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The data folder cannot be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The plugin runtime refuses.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A plugin's store is not exported, imported or emptied.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// As many plugins as the configuration allows.
    #[error(
        "{0} plugins are loaded, which is plugins.max_plugins: unload one, or raise the limit in weir.toml and restart"
    )]
    TooManyPlugins(u32),
    /// The node itself.
    #[error("this is the peer id of the node itself: name another peer")]
    OwnId,
    /// The node knows too many peers.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Nobody knows this peer.
    #[error("no peer {0} is known; `weir peers` lists those that are")]
    UnknownPeer(crate::peer::PeerId),
    /// Nothing was done with a group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// No such access entry.
    #[error("the {list} list has no entry `{entry}`; `weir access` lists those that there are")]
    UnknownEntry {
        /// In which list.
        list: AccessList,
        /// Which.
        entry: AccessEntry,
    },
    /// The entry is the configuration's.
    #[error("`{entry}` of the {list} list stands in weir.toml: remove it there and restart")]
    ConfiguredEntry {
        /// In which list.
        list: AccessList,
        /// Which.
        entry: AccessEntry,
    },
    /// What was asked was done, but will not last.
    #[error("plugin {plugin} runs, but was not saved and will be gone after a restart: {problem}")]
    NotSaved {
        /// Which.
        plugin: String,
        /// Why.
        problem: String,
    },
    /// What was asked was done, but will not last.
    #[error("plugin {plugin} is unloaded, but will be loaded again at the next start: {problem}")]
    StillSaved {
        /// Which.
        plugin: String,
        /// Why.
        problem: String,
    },
}

impl OperateError {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder(error) => error.code(),
            Self::Plugin(error) => error.code(),
            Self::Transfer(error) => error.code(),
            Self::TooManyPlugins(_) => "too-many-plugins",
            Self::OwnId => "own-id",
            Self::Watch(_) => "too-many-peers",
            Self::UnknownPeer(_) => "unknown-peer",
            Self::Group(error) => error.code(),
            Self::UnknownEntry { .. } => "unknown-entry",
            Self::ConfiguredEntry { .. } => "configured-entry",
            Self::NotSaved { .. } | Self::StillSaved { .. } => "not-saved",
        }
    }

    /// What an operator does next, in one sentence.
    pub fn next_step(&self) -> String {
        let fixed = match self {
            Self::Plugin(error) => return error.next_step(),
            Self::Transfer(error) => return error.next_step(),
            Self::Folder(_) | Self::NotSaved { .. } | Self::StillSaved { .. } => {
                "let the node write its data folder, and do it again"
            }
            Self::TooManyPlugins(_) => "run `weir plugin unload NAME`, or raise plugins.max_plugins in weir.toml",
            Self::OwnId | Self::UnknownPeer(_) => "run `weir peers` and name another peer",
            Self::Watch(_) => "run `weir peers remove PEER_ID` for one that is not needed",
            Self::Group(_) => "run `weir groups`",
            Self::UnknownEntry { .. } => "run `weir access`",
            Self::ConfiguredEntry { .. } => "remove the entry in weir.toml and start the node again",
        };
        fixed.to_owned()
    }
}

/// What is loaded when a node starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeMode {
    /// Every plugin in the plugin folder.
    #[default]
    Normal,
    /// None, so that a node that its plugins bring down can be looked at and mended. Loading by hand works.
    Safe,
}

/// What the admin API works on. Shared by all its requests.
pub struct Node {
    host: Host,
    folder: Folder,
    memory: MemoryBound,
    memory_limit: u64,
    known: KnownPeers,
    access: AccessDesk,
    groups: GroupDesk,
    desk: PluginDesk,
    mode: NodeMode,
}

impl Node {
    /// How it was started.
    pub fn mode(&self) -> NodeMode {
        self.mode
    }

    /// The host below.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The data folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The host's status, and what only the node knows: its folder and its memory arithmetic.
    pub async fn status(&self) -> Value {
        let mut status = serde_json::to_value(self.host.status().await).unwrap_or_else(|_| json!({}));
        if let Some(keys) = status.as_object_mut() {
            keys.insert("folder".into(), json!(self.folder.path()));
            keys.insert("safe_mode".into(), json!(self.mode == NodeMode::Safe));
            keys.insert("memory".into(), json!({"bound": self.memory.bytes, "limit": self.memory_limit}));
        }
        status
    }
}

/// The task that looks at the plugin folder.
pub struct Watching {
    task: AbortOnDropHandle<()>,
    stop: CancellationToken,
}

impl Watching {
    /// A plugin that is being loaded has a moment (a tenth of a second) to get there; after that the host ends what there
    /// is of it.
    pub async fn end(self) {
        self.stop.cancel();
        // Dropping the handle cuts it off.
        let _ = tokio::time::timeout(WATCH_GRACE, self.task).await;
    }
}

impl Node {
    /// Looks at the plugin folder from now on, where the configuration and the mode of the node want that.
    pub fn watch(self: &Arc<Self>) -> Option<Watching> {
        if self.mode == NodeMode::Safe || !self.desk.watches() {
            return None;
        }
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(dropin::watch(Arc::clone(self), stop.clone())));
        Some(Watching { task, stop })
    }

    /// Starts what lies in the folder: checks it, takes its lock, starts the host, makes peers known, loads plugins. A
    /// plugin that cannot be loaded is reported and keeps nothing else from running. Nobody may start in this folder
    /// before all that uses the node has ended: whoever starts it keeps the lock for so long.
    ///
    /// Not cancel safe in the sense that peers may have been dialed; nothing in the folder is left half-done.
    ///
    /// # Errors
    /// When anything but a plugin is wrong; the message says what to do.
    pub async fn start_in(
        mode: NodeMode,
        folder: Folder,
        config: Config,
        environment: Environment,
    ) -> Result<(Arc<Self>, FolderLock), StartError> {
        let memory = config.check_memory(&folder.config())?;
        let lock = FolderLock::take(&folder)?;
        let key = NodeKey::load(&folder.key())?;
        let book = PeerBook::open(folder.peers())?;
        let groups = GroupBook::open(folder.groups())?;
        let access = AccessDesk::new(config.access.clone(), AccessBook::open(folder.access())?);
        // From the first packet on.
        let config = Config { access: access.lists(), ..config };
        let host = Host::start(host_config(&folder, &config, key, environment)?).await.map_err(StartError::Host)?;
        let groups = GroupDesk::new(&host, groups);
        let known = KnownPeers::new(host.clone(), book, &config.peers);
        let desk = PluginDesk::new(host.clone(), folder.plugins(), &config);
        let memory_limit = config.limits.memory_limit;
        let node = Arc::new(Self { host, folder, memory, memory_limit, known, access, groups, desk, mode });
        node.known.announce().await;
        match mode {
            NodeMode::Normal => node.desk.load_folder().await,
            NodeMode::Safe => tracing::warn!(
                "safe mode: no plugin of {} is loaded; `weir plugin load FILE` loads one, and without --safe-mode all are",
                node.folder.plugins().display()
            ),
        }
        Ok((node, lock))
    }
}

fn host_config(
    folder: &Folder,
    config: &Config,
    key: NodeKey,
    environment: Environment,
) -> Result<HostConfig, StartError> {
    let runtime = Runtime::system().map_err(|error| StartError::Host(anyhow::Error::new(error)))?;
    Ok(HostConfig {
        key: Arc::new(key),
        data_dir: folder.path().to_owned(),
        config: config.clone(),
        runtime,
        environment,
    })
}
