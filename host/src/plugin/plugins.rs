//! All plugins of a node: load, unload, upgrade, list and call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{MutexGuard as AsyncMutexGuard, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::actor::{Actor, Control};
use super::calls::{Answer, CallDesk, Submission, Waiter, Waiting};
use super::engine::WasmEngine;
use super::home::{Home, Services};
use super::info::{Counters, PluginInfo, PluginState, UpgradeReport};
use super::instance::Instance;
use super::logs::{LogLevel, LogPage, LogQuery, PluginLog};
use super::mailbox::{Caller, Mailbox};
use super::metrics::Metric;
use super::revision::{PluginSettings, PluginSource, Revision};
use super::store::Store;
use super::transfer::MOST_TRANSFERS;
use super::{CallError, EngineConfig, PluginError, PluginPolicy, Preemption, Signer, abi};
use crate::protocol::Network;
use crate::runtime::Runtime;
use crate::wire::Failure;

/// Requests to one actor that may wait; lifecycle calls are serialised anyway.
const CONTROL_QUEUE: usize = 4;
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

struct Running {
    home: Arc<Home>,
    control: mpsc::Sender<Control>,
    task: JoinHandle<()>,
    data_version: u32,
}

struct Inner {
    engine: Arc<WasmEngine>,
    services: Services,
    revisions: AtomicU64,
    running: Mutex<BTreeMap<String, Running>>,
    /// Held by whoever changes what runs; compiling is done before.
    lifecycle: tokio::sync::Mutex<()>,
    /// One permit for each store that is on its way in or out.
    transfers: Arc<Semaphore>,
}

/// See the module. Cheap to clone. Needs a tokio runtime with its time driver.
#[derive(Clone)]
pub struct Plugins(Arc<Inner>);

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").field("running", &self.running().keys()).finish_non_exhaustive()
    }
}

impl Plugins {
    /// Sets up the engine. No plugin is loaded yet.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly or start threads.
    pub fn start(config: PluginsConfig) -> Result<Self, PluginError> {
        let desk = Arc::new(CallDesk::new(&config.policy));
        let services = Services {
            network: config.network,
            runtime: config.runtime,
            policy: Arc::new(config.policy),
            signer: config.signer,
            store: config.store,
            desk,
            logs: Arc::default(),
            started: Instant::now(),
        };
        let engine = Arc::new(WasmEngine::new(config.preemption, config.engine, &*services.signer)?);
        let (running, lifecycle) = (Mutex::default(), tokio::sync::Mutex::default());
        let transfers = Arc::new(Semaphore::new(MOST_TRANSFERS));
        Ok(Self(Arc::new(Inner { engine, services, revisions: AtomicU64::new(0), running, lifecycle, transfers })))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
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

    pub(super) fn policy(&self) -> &PluginPolicy {
        &self.0.services.policy
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.0.services.runtime.clock.unix_ms()
    }

    fn desk(&self) -> &CallDesk {
        &self.0.services.desk
    }

    async fn prepare(
        &self,
        source: PluginSource,
        named: impl FnOnce(&str, PluginSettings) -> Result<PluginSettings, PluginError>,
    ) -> Result<Arc<Revision>, PluginError> {
        let number = self.0.revisions.fetch_add(1, Ordering::Relaxed) + 1;
        Revision::prepare(&self.0.engine, &self.0.services.policy, source, named, number).await.map(Arc::new)
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
        let revision = self.prepare(source, named).await?;
        let _alone = self.0.lifecycle.lock().await;
        let name = revision.manifest.name.clone();
        if self.running().contains_key(&name) {
            return Err(PluginError::NameTaken { plugin: name });
        }
        let mailbox = Arc::new(Mailbox::new(&revision.policy));
        let services = self.0.services.clone();
        let home = Arc::new(Home::new(services, revision.policy.clone(), mailbox.clone(), new_info(&revision)));
        let unreadable =
            |error: super::records::RecordError| PluginError::Store { plugin: name.clone(), reason: error.to_string() };
        home.letters.open().await.map_err(unreadable)?;
        let data_version = revision.manifest.data_version;
        let mut actor = Actor::new(self.0.engine.clone(), home.clone(), revision);
        // One that the node had to quarantine before it ended stays so until its time is over.
        let quarantine = self.quarantine_of(&actor.revision)?;
        if !quarantine.is_some_and(|quarantine| actor.restore_quarantine(quarantine)) {
            let instance = self.instance(&home, &actor.revision).await?;
            actor.first(instance, abi::Cause::Load).await?;
            self.desk().enter(&name, mailbox);
        }
        let (control, asked) = mpsc::channel(CONTROL_QUEUE);
        let task = tokio::spawn(actor.run(asked));
        let info = home.info();
        note(&home, &info, format!("version {} is loaded", info.version));
        self.running().insert(name, Running { home, control, task, data_version });
        Ok(info)
    }

    async fn instance(&self, home: &Arc<Home>, revision: &Arc<Revision>) -> Result<Instance, PluginError> {
        let now = self.0.services.runtime.clock.unix_ms();
        Instance::create(&self.0.engine, home, revision, now).await.map_err(|failure| {
            let report =
                super::CrashReport::new(&revision.manifest, revision.number, "instantiation", None, None, failure);
            PluginError::Start { report: Box::new(report) }
        })
    }

    fn quarantine_of(&self, revision: &Revision) -> Result<Option<super::Quarantine>, PluginError> {
        let (name, digest) = (&revision.manifest.name, &revision.digest);
        let found = super::supervision::Quarantines::new(&self.0.services.store).of(name, digest);
        found.map_err(|error| PluginError::Store { plugin: name.clone(), reason: error.to_string() })
    }

    pub(super) fn find(&self, name: &str) -> Result<(Arc<Home>, mpsc::Sender<Control>, u32), PluginError> {
        let running = self.running();
        let found = running.get(name).ok_or_else(|| PluginError::Unknown { plugin: name.to_owned() })?;
        Ok((found.home.clone(), found.control.clone(), found.data_version))
    }

    /// Puts a new revision in the place of the running one: protocols that both have stay registered, streams stay
    /// open, and what waits in the mailbox goes to the new one. A cancelled call may have upgraded it or not.
    ///
    /// # Errors
    /// Why not. The old revision goes on then with nothing lost.
    pub async fn upgrade(&self, name: &str, source: PluginSource) -> Result<UpgradeReport, PluginError> {
        self.find(name)?;
        let revision = self.prepare(source, |_, settings| Ok(settings)).await?;
        let _alone = self.0.lifecycle.lock().await;
        let (home, control, running) = self.find(name)?;
        check_successor(name, &revision, running)?;
        let from_version = home.info().version;
        let instance = Box::new(self.instance(&home, &revision).await?);
        let data_version = revision.manifest.data_version;
        let (reply, answer) = oneshot::channel();
        let stopped = |_| PluginError::Runtime { reason: "the plugin is stopping".to_owned() };
        control.send(Control::Upgrade { revision, instance, reply }).await.map_err(|_| stopped(()))?;
        let swap = answer.await.map_err(|_| stopped(()))??;
        if let Some(running) = self.running().get_mut(name) {
            running.data_version = data_version;
        }
        let info = home.info();
        let held = swap.pause.as_micros();
        note(&home, &info, format!("upgraded from {from_version} to {}, held for {held} µs", info.version));
        let (pause, snapshot_bytes, snapshot_skipped) = (swap.pause, swap.snapshot_bytes, swap.snapshot_skipped);
        Ok(UpgradeReport { plugin: info, from_version, pause, snapshot_bytes, snapshot_skipped })
    }

    /// Gives the plugin its last turn, unregisters it and forgets it, its quarantine too: what it was at the end. Its
    /// store and its dead letters stay.
    ///
    /// # Errors
    /// When no plugin has the name.
    pub async fn unload(&self, name: &str) -> Result<PluginInfo, PluginError> {
        let _alone = self.0.lifecycle.lock().await;
        let info = self.stop(name, Instant::now() + UNLOAD_TIME).await?;
        // Who ends a plugin and loads it again wants it to run.
        if let Err(error) = super::supervision::Quarantines::new(self.store()).forget(name).await {
            tracing::error!(target: "weir::plugin", plugin = name, %error, "the quarantine is not forgotten");
        }
        Ok(info)
    }

    async fn stop(&self, name: &str, deadline: Instant) -> Result<PluginInfo, PluginError> {
        let removed = self.running().remove(name);
        let Running { home, control, mut task, .. } =
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
        self.desk().submit(id, Submission { plugin, caller, name, timeout_ms, body }, Waiter::Operator(sender));
        let _waiting = Waiting { desk: self.0.services.desk.clone(), id };
        let answered = async {
            let Answer { outcome, ticket } = receiver.await.map_err(|_| CallError::Gone)?;
            if let Some(ticket) = ticket {
                ticket.durable().await.map_err(|error| store_failed(&error.to_string()))?;
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
                    "plugin {plugin} is quarantined; upgrade or unload it, or `weir plugin lift {plugin}` tries it now. \
                     Its last crash: {last}"
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

/// Writes down, among the lines of a plugin, what became of it.
fn note(home: &Home, info: &PluginInfo, message: String) {
    home.note(LogLevel::Info, info.revision, None, None, message);
}

fn new_info(revision: &Revision) -> PluginInfo {
    let manifest = &revision.manifest;
    PluginInfo {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        state: PluginState::Starting,
        protocols: Vec::new(),
        revision: revision.number,
        grants: Vec::new(),
        durability: revision.durability,
        muted: Vec::new(),
        quarantine: None,
        code: revision.code,
        counters: Counters::default(),
        budgets: BTreeMap::new(),
        last_error: None,
        last_crash: None,
    }
}

fn check_successor(name: &str, revision: &Revision, running: u32) -> Result<(), PluginError> {
    let manifest = &revision.manifest;
    if manifest.name != name {
        return Err(PluginError::NameMismatch { expected: name.to_owned(), found: manifest.name.clone() });
    }
    if manifest.reads_data_from <= running && running <= manifest.data_version {
        return Ok(());
    }
    Err(PluginError::DataVersion {
        plugin: name.to_owned(),
        version: manifest.version.clone(),
        reads_from: manifest.reads_data_from,
        data_version: manifest.data_version,
        running,
    })
}

fn store_failed(reason: &str) -> CallError {
    let message = format!("what the answer rests on was not written: {reason}");
    CallError::Failed(Failure { code: "store-failed".to_owned(), message })
}
