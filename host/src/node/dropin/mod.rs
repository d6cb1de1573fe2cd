//! The plugin folder: what is put there is loaded, what is replaced is upgraded, what is taken out is unloaded.
//!
//! `state` decides, `files` reads and writes, and this carries out what was decided. Changes that the operator makes
//! otherwise are told to the state, too, so that nothing is done twice.

pub(super) mod files;
pub(super) mod state;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::files::stamp;
pub use self::state::Problem;
pub(crate) use self::state::Stamp;
pub(super) use self::watch::watch;

use self::files::ReadFile;
use self::state::{Action, Event, FolderState};
use super::plugins::PluginDesk;
use super::{OperateError, PluginRequest};
use crate::plugin::{Digest, PluginError};

/// The folder, and what is known of it.
pub(super) struct Dropin {
    pub(super) folder: PathBuf,
    state: Mutex<FolderState>,
    started: Instant,
}

impl Dropin {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, state: Mutex::default(), started: Instant::now() }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, FolderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, event: Event) -> Vec<Action> {
        self.state().handle(event, self.now())
    }

    /// The operator put this content of a plugin into a file of the folder.
    pub(super) fn saved(&self, plugin: &str, path: &Path, digest: Digest) {
        self.handle(Event::Saved { plugin: plugin.to_owned(), path: path.to_owned(), digest });
    }

    /// The operator unloaded a plugin.
    pub(super) fn unloaded(&self, plugin: &str) {
        self.handle(Event::Unloaded { plugin: plugin.to_owned() });
    }

    /// When to look again, if nothing happens before.
    fn next_look(&self) -> Option<Instant> {
        self.state().next_look().map(|at| self.started + at)
    }
}

impl PluginDesk {
    /// Looks at the folder and does what follows. `boot`: the files lie there since before the node started.
    pub(super) async fn look(&self, boot: bool) {
        let folder = self.dropin.folder.clone();
        let listed = tokio::task::spawn_blocking(move || files::list(&folder)).await;
        let files = match listed.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(files) => files,
            // A folder that cannot be seen says nothing about what is in it: what runs goes on.
            Err(error) => return self.unlisted(&error),
        };
        self.listed(true);
        for action in self.dropin.handle(Event::Listed { files, settled: boot }) {
            self.carry_out(action, boot).await;
        }
    }

    fn unlisted(&self, error: &std::io::Error) {
        if self.listed(false) {
            tracing::error!("cannot read {}: {error}; what runs goes on", self.dropin.folder.display());
        }
    }

    async fn carry_out(&self, action: Action, boot: bool) {
        match action {
            Action::Read(path) => self.read(path, boot).await,
            Action::Moved(path, plugin) => {
                tracing::info!(plugin, "its file is {} now", path.display());
            }
            Action::Unload(path, plugin) => {
                match self.unload_for_folder(&plugin).await {
                    Ok(Some(_)) => tracing::info!(plugin, "unloaded, because {} is gone", path.display()),
                    Ok(None) => tracing::info!(plugin, "goes on from another file, because {} is gone", path.display()),
                    // The operator was faster.
                    Err(OperateError::Plugin(PluginError::Unknown { .. })) => {}
                    Err(error) => tracing::error!(plugin, %error, "cannot be unloaded"),
                }
                let now = self.dropin.now();
                self.dropin.state().ended(now);
            }
            // These two come in answer to a reading, with the bytes at hand.
            Action::Load(_) | Action::Upgrade(..) => {}
        }
    }

    /// Reads a file and does what follows from what it holds.
    async fn read(&self, path: PathBuf, boot: bool) {
        let file = path.clone();
        let read = move || {
            let before = files::look(&file);
            let read = files::read(&file);
            (before == files::look(&file)).then_some(read)
        };
        let read = match tokio::task::spawn_blocking(read).await {
            Ok(Some(read)) => read,
            Ok(None) => return drop(self.dropin.handle(Event::Unsettled(path))),
            Err(error) => return tracing::error!("{}: {error}", path.display()),
        };
        let (content, mut file) = match read {
            Ok(file) => (Ok(file.content), Some(file)),
            Err(problem) => (Err(problem), None),
        };
        self.report(&path, content.as_ref().err());
        for action in self.dropin.handle(Event::Read(path, content)) {
            match (action, file.take()) {
                (Action::Load(path), Some(file)) => self.load_file(path, file, boot).await,
                (Action::Upgrade(path, plugin), Some(file)) => self.upgrade_file(path, &plugin, file.request).await,
                (action, kept) => {
                    file = kept;
                    // Boxed, because it might read again.
                    Box::pin(self.carry_out(action, boot)).await;
                }
            }
        }
    }

    async fn load_file(&self, path: PathBuf, ReadFile { content, request }: ReadFile, boot: bool) {
        let digest = content.digest;
        let loaded = self.load_for_folder(request, digest, boot).await;
        if let Ok(plugin) = &loaded {
            tracing::info!(plugin, "loaded {}", path.display());
        }
        self.settled(path, loaded);
    }

    async fn upgrade_file(&self, path: PathBuf, plugin: &str, request: PluginRequest) {
        let upgraded = self.upgrade_for_folder(plugin, request).await;
        if let Ok(version) = &upgraded {
            tracing::info!(plugin, version, "upgraded with {}", path.display());
        }
        self.settled(path, upgraded.map(|_| plugin.to_owned()));
    }

    fn settled(&self, path: PathBuf, outcome: Result<String, OperateError>) {
        let problem = |error: OperateError| Problem::new(error.code(), error.to_string(), error.next_step());
        let outcome = outcome.map_err(problem);
        self.report(&path, outcome.as_ref().err());
        self.dropin.handle(Event::Done(path, outcome));
    }

    /// Says in the log what `weir plugin list` shows, once for each problem.
    fn report(&self, path: &Path, problem: Option<&Problem>) {
        let Some(problem) = problem else { return };
        let known = self.dropin.state().problems().any(|(file, known)| file == path && known == problem);
        if !known {
            tracing::error!(code = problem.code, "cannot load {}: {}", path.display(), problem.message);
        }
    }
}
