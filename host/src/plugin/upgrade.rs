//! How a revision becomes the one that runs: at load, after a crash, and in place of another without losing anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PluginError;
use super::abi;
use super::actor::Actor;
use super::commit::commit;
use super::crash::{CallFailure, CrashKind};
use super::instance::Instance;
use super::lifecycle::{Plan, RevisionEvent};
use super::revision::Revision;
use crate::protocol::{Handler, News, ProtocolId, ProtocolSpec};

/// What a swap did.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) pause: Duration,
    pub(super) snapshot_bytes: Option<usize>,
    pub(super) snapshot_skipped: Option<String>,
    pub(super) copied_bytes: Option<u64>,
    pub(super) restored_bytes: Option<u64>,
}

/// How long the old revision may still handle what waits for protocols that are registered anew.
const WORK_OFF: Duration = Duration::from_secs(2);
/// What the old revision's snapshot may take beyond its CPU time, because other plugins use the processor, too.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);

/// What registering a manifest's protocols changed: the ids, with what was registered before.
type Changed = Vec<(ProtocolId, Option<ProtocolSpec>)>;

/// Why a revision did not become the one that runs: for an operator, and as the failure behind it.
type NotActive = Box<(Option<PluginError>, CallFailure)>;

impl Actor {
    /// What `start` is told.
    pub(super) fn init(
        &self,
        revision: &Revision,
        cause: abi::Cause,
        predecessor: Option<abi::Predecessor>,
    ) -> abi::Init {
        let policy = &revision.policy;
        abi::Init {
            node: (&self.home.network().node()).into(),
            cause,
            predecessor,
            config: revision.config.clone(),
            granted: revision.grants.iter().map(str::to_owned).collect(),
            limits: abi::Limits {
                message: policy.message.min(crate::wire::DEFAULT_MAX_MESSAGE),
                turn_effects: policy.turn_effects,
                turn_bytes: policy.turn_bytes,
                open_asks: policy.open_asks,
                key: policy.store_key,
                value: policy.store_value,
                store: policy.store_bytes,
                memory: policy.memory,
                timers: policy.timers,
            },
            more: Vec::new(),
        }
    }

    /// Loads the first revision. The store gets the copy with the number `restore` before, if there is one.
    pub(super) async fn first(
        &mut self,
        instance: Instance,
        cause: abi::Cause,
        restore: Option<u64>,
    ) -> Result<(), PluginError> {
        self.tick();
        let revision = self.revision.clone();
        let ground = self.prepare_ground(&revision, restore).await?;
        let init = self.init(&revision, cause, None);
        let Err(why) = self.activate(revision.clone(), instance, init).await else { return Ok(()) };
        self.leave_ground(ground).await;
        Err(self.refused(&revision, *why))
    }

    fn refused(&self, revision: &Revision, (error, failure): (Option<PluginError>, CallFailure)) -> PluginError {
        revision.step(RevisionEvent::Refused);
        error.unwrap_or_else(|| PluginError::Start {
            report: Box::new(self.report_of(revision, "start", None, None, failure)),
        })
    }

    /// Starts an instance, registers what its revision names, commits, and makes it the one that runs. Protocols that
    /// are registered already stay as they are, unless the revision wants another size or order of messages for them. On
    /// any failure nothing has changed.
    pub(super) async fn activate(
        &mut self,
        revision: Arc<Revision>,
        instance: Instance,
        init: abi::Init,
    ) -> Result<(), NotActive> {
        let (instance, outcome) = instance.start(init).await;
        outcome.map_err(|failure| Box::new((None, failure)))?;
        let Some(mut instance) = instance else { return Ok(()) };
        revision.step(RevisionEvent::Started);
        let changed = self.register(&revision)?;
        if let Err(error) = commit(instance.state_mut(), &mut self.registered).await {
            self.register_back(changed);
            let (plugin, reason) = (self.home.name.clone(), error.to_string());
            let failure = not_called(CrashKind::Commit, &reason);
            return Err(Box::new((Some(PluginError::Store { plugin, reason }), failure)));
        }
        let kept: Vec<_> = instance.state().protocols.values().map(|spec| spec.id.clone()).collect();
        let dropped: Vec<_> = self.registered.keys().filter(|id| !kept.contains(id)).cloned().collect();
        self.unregister(&dropped);
        self.told.retain(|(_, id), _| kept.contains(id));
        let hear = |((peer, protocol), max_message): (&(_, crate::protocol::ProtocolId), &u32)| News::Supported {
            peer: *peer,
            protocol: protocol.clone(),
            max_message: *max_message,
        };
        self.retell = self.told.iter().map(hear).collect();
        self.home.set_policy(&revision.policy);
        self.instance = Some(instance);
        revision.step(RevisionEvent::Committed);
        self.revision = revision;
        self.show();
        Ok(())
    }

    /// Puts what is known of the revision that runs where the operator sees it.
    pub(super) fn show(&self) {
        let (manifest, registered) = (&self.revision.manifest, self.registered.keys().cloned().collect());
        let identity = &self.revision.identity;
        self.home.update_info(|info| {
            info.version.clone_from(&manifest.version);
            info.description.clone_from(&manifest.description);
            info.state = self.revision.state();
            info.protocols = registered;
            info.revision = self.revision.number;
            info.code = self.revision.code;
            info.grants = self.revision.grants.iter().map(str::to_owned).collect();
            info.digest = identity.digest.to_string();
            info.signer = identity.signer.map(|signer| signer.to_string());
            info.data_version = manifest.data_version;
            info.durability = self.revision.durability;
        });
    }

    /// Registers the protocols of a manifest that are not yet, or not like this; all or none of them.
    fn register(&mut self, revision: &Revision) -> Result<Changed, NotActive> {
        let mut changed = Changed::new();
        for protocol in &revision.manifest.protocols {
            let spec = &protocol.spec;
            let before = self.registered.get(&spec.id).cloned();
            if before.as_ref() == Some(spec) {
                continue;
            }
            if before.is_some() {
                // Peers were told how large its messages may be, so it is another registration to them.
                self.unregister(std::slice::from_ref(&spec.id));
            }
            changed.push((spec.id.clone(), before));
            if let Err(reason) = self.register_one(spec.clone()) {
                self.register_back(changed);
                let plugin = self.home.name.clone();
                let failure = not_called(CrashKind::Error, &reason);
                return Err(Box::new((Some(PluginError::Protocol { plugin, reason }), failure)));
            }
        }
        Ok(changed)
    }

    fn register_one(&mut self, spec: ProtocolSpec) -> Result<(), String> {
        let handler: Arc<dyn Handler> = self.home.mailbox.clone();
        let registered = self.home.network().register(spec.clone(), &self.home.name, handler);
        registered.map_err(|error| error.to_string())?;
        self.registered.insert(spec.id.clone(), spec);
        Ok(())
    }

    /// Takes back what [`Actor::register`] did.
    fn register_back(&mut self, changed: Changed) {
        for (id, before) in changed.into_iter().rev() {
            if self.registered.contains_key(&id) {
                self.unregister(std::slice::from_ref(&id));
            }
            let Some(spec) = before else { continue };
            if let Err(reason) = self.register_one(spec) {
                let plugin = self.home.name.as_str();
                tracing::error!(target: "weir::plugin", plugin, reason, "a protocol is not served any more");
            }
        }
    }

    /// Lets the old revision handle what waits, where the new one wants other messages of a protocol that both have:
    /// what waits for it when it is registered anew is purged with its peers.
    async fn work_off_changed(&mut self, revision: &Revision) {
        let specs = revision.manifest.protocols.iter().map(|protocol| &protocol.spec);
        let changes = |spec: &ProtocolSpec| self.registered.get(&spec.id).is_some_and(|before| before != spec);
        if !specs.into_iter().any(changes) {
            return;
        }
        self.work_off(tokio::time::Instant::now() + WORK_OFF).await;
    }

    fn unregister(&mut self, ids: &[crate::protocol::ProtocolId]) {
        for id in ids {
            self.registered.remove(id);
            self.home.network().unregister(id);
        }
    }

    /// Puts another revision in the place of the running one. The mailbox is held meanwhile: the actor takes nothing
    /// out. On any failure the old revision goes on.
    pub(super) async fn upgrade(
        &mut self,
        revision: Arc<Revision>,
        new: Instance,
        plan: Plan,
    ) -> Result<Swap, PluginError> {
        self.work_off_changed(&revision).await;
        let held = Instant::now();
        self.tick();
        let (quarantined, retired) = (self.is_quarantined(), self.revision.clone());
        if self.instance.is_some() {
            self.step(RevisionEvent::Drained);
        }
        let (old, snapshot, snapshot_skipped) = self.snapshot(plan).await;
        let snapshot_bytes = snapshot.as_ref().map(Vec::len);
        let predecessor = abi::Predecessor {
            version: self.revision.manifest.version.clone(),
            data_version: self.revision.manifest.data_version,
            snapshot,
        };
        let ground = match self.prepare_ground(&revision, plan.restore).await {
            Ok(ground) => ground,
            Err(error) => {
                self.go_on(old, quarantined).await;
                return Err(error);
            }
        };
        if quarantined {
            self.home.mailbox.reopen();
        }
        let init = self.init(&revision, plan.cause(), Some(predecessor));
        // What `start` opens is the new instance's own and stays.
        let before = self.owed_beside(&self.left_to_rescue());
        if let Err(why) = self.activate(revision.clone(), new, init).await {
            let error = self.refused(&revision, *why);
            // Its memory knows a store that is not there any more.
            let old = if ground.restored.is_some() { None } else { old };
            self.leave_ground(ground).await;
            self.go_on(old, quarantined).await;
            return Err(error);
        }
        drop(old);
        if snapshot_bytes.is_none() {
            self.home.mailbox.resume_all();
            self.end(before);
        }
        self.comeback = None;
        retired.retire();
        self.begin_anew().await;
        self.succeed(Some(retired), plan.step, quarantined).await;
        let pause = held.elapsed();
        let (copied_bytes, restored_bytes) = (ground.copied, ground.restored);
        Ok(Swap { pause, snapshot_bytes, snapshot_skipped, copied_bytes, restored_bytes })
    }

    /// After a failed upgrade: the old instance, or one made anew from its store.
    async fn go_on(&mut self, old: Option<Instance>, quarantined: bool) {
        if quarantined {
            self.home.close_mailbox();
            return;
        }
        self.instance = old;
        if self.instance.is_some() {
            return self.step(RevisionEvent::Resumed);
        }
        self.step(RevisionEvent::Crashed);
        self.abandon(&self.left_to_rescue());
        // Whether it lives or is quarantined, the operator sees it in the list.
        self.revive().await;
    }

    /// Asks the running instance for its memory. One that returns an error has none to give and goes on if the upgrade
    /// fails; a trap or a loop costs the instance, not the upgrade. It takes a bounded time, whatever the old code does.
    async fn snapshot(&mut self, plan: Plan) -> (Option<Instance>, Option<Vec<u8>>, Option<String>) {
        let Some(old) = self.instance.take() else {
            let state = if self.is_quarantined() { "quarantined" } else { "waiting to be started again" };
            return (None, None, Some(format!("the plugin was {state}")));
        };
        if plan.restore.is_some() {
            return (Some(old), None, Some("the store is another one".to_owned()));
        }
        if plan.skip_snapshot {
            return (Some(old), None, Some("the operator wanted none".to_owned()));
        }
        let most = self.revision.policy.snapshot;
        let wait = self.revision.policy.turn_time + SNAPSHOT_WAIT;
        let Ok(outcome) = tokio::time::timeout(wait, old.snapshot()).await else {
            let reason = format!("it did not end within {} s", wait.as_secs());
            let report = self.report("snapshot", None, None, not_called(CrashKind::Timeout, &reason));
            return (None, None, Some(report.failure.reason));
        };
        match outcome {
            (old, Ok(Ok(bytes))) if bytes.len() <= most => (old, Some(bytes), None),
            (old, Ok(Ok(bytes))) => (old, None, Some(format!("it has {} bytes; the limit is {most}", bytes.len()))),
            (old, Ok(Err(none))) => (old, None, Some(none)),
            (_, Err(failure)) => {
                let report = self.report("snapshot", None, None, failure);
                (None, None, Some(report.failure.reason))
            }
        }
    }
}

fn not_called(kind: CrashKind, reason: &str) -> CallFailure {
    CallFailure::new(kind, reason)
}
