//! How a revision becomes the one that runs: at load, after a crash, and in place of another without losing anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::abi;
use super::actor::Actor;
use super::commit::commit;
use super::crash::{CallFailure, CrashKind};
use super::instance::Instance;
use super::revision::Revision;
use super::{PluginError, PluginState};
use crate::protocol::{Handler, News};

/// What a swap did.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) pause: Duration,
    pub(super) snapshot_bytes: Option<usize>,
    pub(super) snapshot_skipped: Option<String>,
}

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

    /// Loads the first revision.
    pub(super) async fn first(&mut self, instance: Instance, cause: abi::Cause) -> Result<(), PluginError> {
        self.tick();
        let revision = self.revision.clone();
        let init = self.init(&revision, cause, None);
        let outcome = self.activate(revision.clone(), instance, init).await;
        outcome.map_err(|why| self.refused(&revision, *why))
    }

    fn refused(&self, revision: &Revision, (error, failure): (Option<PluginError>, CallFailure)) -> PluginError {
        error.unwrap_or_else(|| PluginError::Start {
            report: Box::new(self.report_of(revision, "start", None, None, failure)),
        })
    }

    /// Starts an instance, registers what its revision names, commits, and makes it the one that runs. Protocols that
    /// are registered already stay as they are. On any failure nothing has changed.
    pub(super) async fn activate(
        &mut self,
        revision: Arc<Revision>,
        instance: Instance,
        init: abi::Init,
    ) -> Result<(), NotActive> {
        let (instance, outcome) = instance.start(init).await;
        outcome.map_err(|failure| Box::new((None, failure)))?;
        let Some(mut instance) = instance else { return Ok(()) };
        let added = self.register(&revision)?;
        if let Err(error) = commit(instance.state_mut(), &mut self.registered).await {
            self.unregister(&added);
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
        self.revision = revision;
        self.show();
        Ok(())
    }

    fn show(&self) {
        let (manifest, registered) = (&self.revision.manifest, self.registered.keys().cloned().collect());
        self.home.update_info(|info| {
            info.version.clone_from(&manifest.version);
            info.description.clone_from(&manifest.description);
            info.state = PluginState::Active;
            info.protocols = registered;
            info.revision = self.revision.number;
            info.code = self.revision.code;
            info.grants = self.revision.grants.iter().map(str::to_owned).collect();
            info.durability = self.revision.durability;
        });
    }

    /// Registers the protocols of a manifest that are not yet; all or none of them.
    fn register(&mut self, revision: &Revision) -> Result<Vec<crate::protocol::ProtocolId>, NotActive> {
        let mut added = Vec::new();
        for protocol in &revision.manifest.protocols {
            let spec = &protocol.spec;
            if self.registered.contains_key(&spec.id) {
                continue;
            }
            let handler: Arc<dyn Handler> = self.home.mailbox.clone();
            if let Err(error) = self.home.network().register(spec.clone(), &self.home.name, handler) {
                self.unregister(&added);
                let (plugin, reason) = (self.home.name.clone(), error.to_string());
                let failure = not_called(CrashKind::Error, &reason);
                return Err(Box::new((Some(PluginError::Protocol { plugin, reason }), failure)));
            }
            self.registered.insert(spec.id.clone(), spec.clone());
            added.push(spec.id.clone());
        }
        Ok(added)
    }

    fn unregister(&mut self, ids: &[crate::protocol::ProtocolId]) {
        for id in ids {
            self.registered.remove(id);
            self.home.network().unregister(id);
        }
    }

    /// Puts a new revision in the place of the running one. The mailbox is held meanwhile: the actor takes nothing out.
    /// On any failure the old revision goes on.
    pub(super) async fn upgrade(&mut self, revision: Arc<Revision>, new: Instance) -> Result<Swap, PluginError> {
        let held = Instant::now();
        self.tick();
        let quarantined = self.is_quarantined();
        let (old, snapshot, snapshot_skipped) = self.snapshot().await;
        let snapshot_bytes = snapshot.as_ref().map(Vec::len);
        let predecessor = abi::Predecessor {
            version: self.revision.manifest.version.clone(),
            data_version: self.revision.manifest.data_version,
            snapshot,
        };
        if quarantined {
            self.home.mailbox.reopen();
        }
        let init = self.init(&revision, abi::Cause::Upgrade, Some(predecessor));
        // What `start` opens is the new instance's own and stays.
        let before = self.owed_beside(&self.left_to_rescue());
        if let Err(why) = self.activate(revision.clone(), new, init).await {
            let error = self.refused(&revision, *why);
            self.go_on(old, quarantined).await;
            return Err(error);
        }
        drop(old);
        if snapshot_bytes.is_none() {
            self.home.mailbox.resume_all();
            self.end(before);
        }
        self.begin_anew().await;
        Ok(Swap { pause: held.elapsed(), snapshot_bytes, snapshot_skipped })
    }

    /// After a failed upgrade: the old instance, or one made anew from its store.
    async fn go_on(&mut self, old: Option<Instance>, quarantined: bool) {
        if quarantined {
            self.home.close_mailbox();
            return;
        }
        self.instance = old;
        if self.instance.is_none() {
            self.abandon(&self.left_to_rescue());
            // Whether it lives or is quarantined, the operator sees it in the list.
            self.revive().await;
        }
    }

    /// Asks the running instance for its memory. A failure costs the instance, not the upgrade.
    async fn snapshot(&mut self) -> (Option<Instance>, Option<Vec<u8>>, Option<String>) {
        let Some(old) = self.instance.take() else {
            let state = if self.is_quarantined() { "quarantined" } else { "waiting to be started again" };
            return (None, None, Some(format!("the plugin was {state}")));
        };
        let most = self.revision.policy.snapshot;
        match old.snapshot().await {
            (old, Ok(bytes)) if bytes.len() <= most => (old, Some(bytes), None),
            (old, Ok(bytes)) => (old, None, Some(format!("it has {} bytes; the limit is {most}", bytes.len()))),
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
