//! All plugins of a node: load, unload, upgrade, list and call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{MutexGuard as AsyncMutexGuard, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::actor::Control;
use super::calls::{Answer, CallDesk, Submission, Waiter, Waiting};
use super::engine::WasmEngine;
use super::home::{Home, Services};
use super::info::{PluginInfo, UpgradeReport};
use super::lifecycle::{Archive, ChangeOptions, LifecycleConfig, PluginState, Shelf};
use super::logs::{LogLevel, LogPage, LogQuery, PluginLog};
use super::mailbox::Caller;
use super::metrics::Metric;
use super::poison::forget_mutes;
use super::revision::{PluginSettings, PluginSource};
use super::store::Store;
use super::transfer::MOST_TRANSFERS;
use super::{CallError, EngineConfig, PluginError, PluginPolicy, Preemption, Signer};
use crate::protocol::Network;
use crate::runtime::Runtime;
use crate::wire::Failure;

/// How long `unload` gives the last turn.
const UNLOAD_TIME: Duration = Duration::from_secs(5);

/// What the plugins of a node need from it.
#[derive(Clone)]
pub struct PluginsConfig {
    /// The durable store.
    pub store: Store,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// The node.
    pub network: Arc<dyn Network>,
    /// Budgets.
    pub policy: PluginPolicy,
    /// How long turns are stopped.
    pub preemption: Preemption,
    /// The node's key.
    pub signer: Arc<dyn Signer>,
    /// How files become code, and where memory comes from.
    pub engine: EngineConfig,
}

/// A plugin with its actor.
pub(super) struct Running {
    pub(super) home: Arc<Home>,
    pub(super) control: mpsc::Sender<Control>,
    pub(super) task: JoinHandle<()>,
}

/// What all clones of the handle share.
pub(super) struct Inner {
    pub(super) engine: Arc<WasmEngine>,
    pub(super) services: Services,
    running: Mutex<BTreeMap<String, Running>>,
    /// Held by whoever changes what runs; compiling is done before.
    pub(super) lifecycle: tokio::sync::Mutex<()>,
    /// One permit for each store that is on its way in or out.
    transfers: Arc<Semaphore>,
}

/// See the module. Cheap to clone. Needs a tokio runtime with its time driver.
#[derive(Clone)]
pub struct Plugins(pub(super) Arc<Inner>);

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").field("running", &self.running().keys()).finish_non_exhaustive()
    }
}

impl Plugins {
    /// Sets up the engine. No plugin is loaded yet. Every file is trusted, and none is kept after the node's end.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly or start threads.
    pub fn start(config: PluginsConfig) -> Result<Self, PluginError> {
        Self::start_with(config, LifecycleConfig::default())
    }

    /// [`Plugins::start`] with what the operator says about files, and where they are kept.
    ///
    /// # Errors
    /// As for [`Plugins::start`].
    pub fn start_with(config: PluginsConfig, lifecycle: LifecycleConfig) -> Result<Self, PluginError> {
        let archive = Archive::new(&config.store, lifecycle.trust, Shelf::new(lifecycle.revisions));
        let desk = Arc::new(CallDesk::new());
        let services = Services {
            network: config.network,
            runtime: config.runtime,
            policy: Arc::new(config.policy),
            signer: config.signer,
            store: config.store,
            desk,
            archive: Arc::new(archive),
            logs: Arc::default(),
            started: Instant::now(),
        };
        let engine = Arc::new(WasmEngine::new(config.preemption, config.engine, &*services.signer)?);
        let (running, lifecycle) = (Mutex::default(), tokio::sync::Mutex::default());
        let transfers = Arc::new(Semaphore::new(MOST_TRANSFERS));
        Ok(Self(Arc::new(Inner { engine, services, running, lifecycle, transfers })))
    }

    /// What runs, by name.
    pub(super) fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a plugin of this name runs or is quarantined.
    pub(super) fn is_loaded(&self, name: &str) -> bool {
        self.running().contains_key(name)
    }

    /// Nothing is loaded, upgraded or unloaded while this is held.
    pub(super) async fn alone(&self) -> AsyncMutexGuard<'_, ()> {
        self.0.lifecycle.lock().await
    }

    pub(super) fn transfers(&self) -> &Arc<Semaphore> {
        &self.0.transfers
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.services.store
    }

    /// What is kept of the plugins' revisions and stores.
    pub(super) fn archive(&self) -> &Arc<Archive> {
        &self.0.services.archive
    }

    pub(super) fn policy(&self) -> &PluginPolicy {
        &self.0.services.policy
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.0.services.runtime.clock.unix_ms()
    }

    pub(super) fn desk(&self) -> &CallDesk {
        &self.0.services.desk
    }

    /// Compiles, checks, starts and registers a plugin. A cancelled call may have loaded it or not.
    ///
    /// # Errors
    /// Why it is not loaded. Nothing has changed then.
    pub async fn load(&self, source: PluginSource) -> Result<PluginInfo, PluginError> {
        self.load_named(source, |_, settings| Ok(settings)).await
    }

    /// [`Plugins::load`] with settings that depend on what the plugin calls itself: `named` is given that name and the
    /// settings of the source, and returns those that count, or why there are none.
    ///
    /// # Errors
    /// As for [`Plugins::load`].
    pub async fn load_named(
        &self,
        source: PluginSource,
        named: impl FnOnce(&str, PluginSettings) -> Result<PluginSettings, PluginError>,
    ) -> Result<PluginInfo, PluginError> {
        self.load_with(source, named, ChangeOptions::default()).await
    }

    /// The home of a plugin and the way to its actor.
    pub(super) fn find(&self, name: &str) -> Result<(Arc<Home>, mpsc::Sender<Control>), PluginError> {
        let running = self.running();
        let found = running.get(name).ok_or_else(|| PluginError::Unknown { plugin: name.to_owned() })?;
        Ok((found.home.clone(), found.control.clone()))
    }

    /// Puts a new revision in the place of the running one: protocols that both have stay registered, streams stay
    /// open, and what waits in the mailbox goes to the new one. A cancelled call may have upgraded it or not.
    ///
    /// # Errors
    /// Why not. The old revision goes on then with nothing lost.
    pub async fn upgrade(&self, name: &str, source: PluginSource) -> Result<UpgradeReport, PluginError> {
        self.upgrade_with(name, source, ChangeOptions::default()).await
    }

    /// Gives the plugin its last turn, unregisters it and forgets it, its quarantine and its mutes too: what it was at the end. Its
    /// store and its dead letters stay.
    ///
    /// # Errors
    /// When no plugin has the name.
    pub async fn unload(&self, name: &str) -> Result<PluginInfo, PluginError> {
        let _alone = self.0.lifecycle.lock().await;
        let info = self.stop(name, Instant::now() + UNLOAD_TIME).await?;
        // Who ends a plugin and loads it again wants it to run, and to hear everybody.
        self.forget_quarantine(name).await;
        if let Err(error) = forget_mutes(self.store(), name).await {
            tracing::error!(target: "weir::plugin", plugin = name, %error, "who is muted is not forgotten");
        }
        Ok(info)
    }

    pub(super) async fn forget_quarantine(&self, name: &str) {
        if let Err(error) = super::supervision::Quarantines::new(self.store()).forget(name).await {
            tracing::error!(target: "weir::plugin", plugin = name, %error, "the quarantine is not forgotten");
        }
    }

    async fn stop(&self, name: &str, deadline: Instant) -> Result<PluginInfo, PluginError> {
        let removed = self.running().remove(name);
        let Running { home, control, mut task } =
            removed.ok_or_else(|| PluginError::Unknown { plugin: name.to_owned() })?;
        let (reply, stopped) = oneshot::channel();
        let asked = async {
            control.send(Control::Stop { deadline, reply }).await.ok()?;
            stopped.await.ok()
        };
        // The actor ends its last turn at the deadline; a little more is for what comes after it.
        let late = deadline + Duration::from_millis(500);
        let _ = timeout_at(late, asked).await;
        if timeout_at(late, &mut task).await.is_err() {
            task.abort();
            // The actor could not say farewell, so it is said for it.
            let mut actor_less = home.info().protocols;
            actor_less.drain(..).for_each(|id| home.network().unregister(&id));
            self.desk().leave(name);
            home.close_mailbox();
        }
        let info = home.info();
        note(&home, &info, format!("version {} has ended", info.version));
        Ok(info)
    }

    /// All plugins, by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.running().values().map(|running| running.home.info()).collect()
    }

    /// The last lines of a plugin that runs or ran: its own, and what the node has to say of it.
    ///
    /// # Errors
    /// When no plugin of that name ran.
    pub fn logs(&self, name: &str, query: &LogQuery) -> Result<LogPage, PluginError> {
        Ok(self.log_of(name)?.read(query))
    }

    /// The same; when there are none yet, waits for one until the deadline. Cancel safe.
    ///
    /// # Errors
    /// As for [`Plugins::logs`].
    pub async fn wait_for_logs(&self, name: &str, query: &LogQuery, deadline: Instant) -> Result<LogPage, PluginError> {
        Ok(self.log_of(name)?.wait(query, deadline).await)
    }

    fn log_of(&self, name: &str) -> Result<Arc<PluginLog>, PluginError> {
        self.0.services.logs.find(name).ok_or_else(|| PluginError::Unknown { plugin: name.to_owned() })
    }

    /// The metrics of all plugins, by plugin and name.
    pub fn metrics(&self) -> BTreeMap<String, BTreeMap<String, Metric>> {
        self.running().iter().map(|(name, running)| (name.clone(), running.home.all_metrics())).collect()
    }

    /// Calls a command. Body and answer are JSON. The answer is told when what it rests on is on the disk.
    ///
    /// Cancel safe: when the future is dropped, or the time is over, the plugin is told that no answer is wanted.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(
        &self,
        plugin: &str,
        command: &str,
        body: Bytes,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        self.refuse_quarantined(plugin)?;
        let (sender, receiver) = oneshot::channel();
        let id = self.desk().next();
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let (plugin, name) = (plugin.to_owned(), command.to_owned());
        self.desk().submit(
            id,
            Submission { plugin, caller, limits: None, name, timeout_ms, body },
            Waiter::Operator(sender),
        );
        let _waiting = Waiting { desk: self.0.services.desk.clone(), id };
        let answered = async {
            let Answer { outcome, ticket } = receiver.await.map_err(|_| CallError::Gone)?;
            if let Some(ticket) = ticket {
                ticket.durable().await.map_err(|error| not_written(&error.to_string()))?;
            }
            outcome
        };
        tokio::time::timeout(timeout, answered).await.unwrap_or(Err(CallError::TimedOut))
    }

    fn refuse_quarantined(&self, plugin: &str) -> Result<(), CallError> {
        let info = self.running().get(plugin).map(|running| running.home.info());
        match info.filter(|info| info.state == PluginState::Quarantined) {
            None => Ok(()),
            Some(info) => {
                let last = info.last_error.unwrap_or_default();
                let message = format!(
                    "plugin {plugin} is quarantined; upgrade or unload it, roll it back, or `weir plugin lift {plugin}` tries \
                     it now. Its last crash: {last}"
                );
                Err(CallError::Failed(Failure { code: "plugin-quarantined".to_owned(), message }))
            }
        }
    }

    /// Unloads all plugins at once. Returns at the deadline, or soon after, whatever they do.
    pub async fn shutdown(&self, deadline: Instant) {
        let Ok(_alone) = timeout_at(deadline, self.0.lifecycle.lock()).await else { return };
        let names: Vec<_> = self.running().keys().cloned().collect();
        let mut stopping = tokio::task::JoinSet::new();
        for name in names {
            let plugins = self.clone();
            stopping.spawn(async move { plugins.stop(&name, deadline).await });
        }
        stopping.join_all().await;
    }
}

/// Asks the actor behind `control` for something, and waits for its answer.
pub(super) async fn ask<T>(
    control: &mpsc::Sender<Control>,
    make: impl FnOnce(oneshot::Sender<Result<T, PluginError>>) -> Control,
) -> Result<T, PluginError> {
    let (reply, answer) = oneshot::channel();
    let stopped = || PluginError::Runtime { reason: "the plugin is stopping".to_owned() };
    control.send(make(reply)).await.map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?
}

/// Writes down, among the lines of a plugin, what became of it.
pub(super) fn note(home: &Home, info: &PluginInfo, message: String) {
    home.note(LogLevel::Info, info.revision, None, None, message);
}

fn not_written(reason: &str) -> CallError {
    let message = format!("what the answer rests on was not written: {reason}");
    CallError::Failed(Failure { code: "store-failed".to_owned(), message })
}
