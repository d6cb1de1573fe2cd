//! The actor's part in a change: what is made sure before another revision runs on the store, what is noted after it
//! does, and how the one before comes back by itself.

use std::sync::Arc;

use tokio::time::Instant;

use super::RevisionEvent;
use super::probation::{Probation, Ruling};
use super::record::LayoutRecord;
use super::stage::Stage;
use super::succession::{Chain, Step};
use crate::peer::PeerId;
use crate::plugin::actor::Actor;
use crate::plugin::home::add;
use crate::plugin::info::ProbationInfo;
use crate::plugin::revision::Revision;
use crate::plugin::{CrashReport, PluginError, abi};

/// How another revision takes over.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugin) struct Plan {
    pub(in crate::plugin) step: Step,
    /// What runs is not asked for its memory.
    pub(in crate::plugin) skip_snapshot: bool,
    /// The number of the copy that takes the place of the store.
    pub(in crate::plugin) restore: Option<u64>,
}

impl Plan {
    pub(in crate::plugin) fn cause(&self) -> abi::Cause {
        if self.step == Step::Rollback { abi::Cause::Rollback } else { abi::Cause::Upgrade }
    }
}

/// What was done to the store before a revision starts on it.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Ground {
    /// The layout to go back to when it does not start.
    before: Option<LayoutRecord>,
    pub(in crate::plugin) copied: Option<u64>,
    pub(in crate::plugin) restored: Option<u64>,
}

impl Actor {
    /// Notes what happened to the revision that runs, for the operator too.
    pub(in crate::plugin) fn step(&self, event: RevisionEvent) {
        self.revision.step(event);
        let state = self.revision.state();
        self.home.update_info(|info| info.state = state);
    }

    /// Makes the store ready for a revision: brings a copy back, or makes one when the revision writes a newer layout
    /// than the store has. Nobody may be using the store.
    pub(in crate::plugin) async fn prepare_ground(
        &self,
        revision: &Revision,
        restore: Option<u64>,
    ) -> Result<Ground, PluginError> {
        let (archive, name) = (&self.home.services.archive, self.home.name.as_str());
        if let Some(number) = restore {
            let copy = archive.restore(name, number).await?;
            return self.raise(revision, Ground { restored: Some(copy.bytes), ..Ground::default() }).await;
        }
        self.raise(revision, Ground::default()).await
    }

    async fn raise(&self, revision: &Revision, ground: Ground) -> Result<Ground, PluginError> {
        let (archive, name) = (&self.home.services.archive, self.home.name.as_str());
        let mut ground = Ground { before: archive.layout(name)?, ..ground };
        if let Some(layout) = ground.before.as_ref().filter(|layout| revision.layouts().raises(layout.data_version)) {
            let now = self.home.services.runtime.clock.unix_ms();
            ground.copied = Some(archive.copy(name, layout, now).await?.bytes);
        }
        archive.set_layout(name, &layout_of(revision)).await?;
        Ok(ground)
    }

    /// The revision did not start: the store is as the layout before says.
    pub(in crate::plugin) async fn leave_ground(&self, ground: Ground) {
        let (archive, name) = (&self.home.services.archive, self.home.name.as_str());
        let Some(layout) = ground.before else { return };
        if let Err(error) = archive.set_layout(name, &layout).await {
            tracing::error!(target: "weir::plugin", plugin = name, %error, "the layout of a store is not noted");
        }
    }

    /// Notes that `self.revision` runs since now, after `retired` or for the first time since the node started.
    pub(in crate::plugin) async fn succeed(&mut self, retired: Option<Arc<Revision>>, step: Step, broken: bool) {
        let (archive, name) = (self.home.services.archive.clone(), self.home.name.clone());
        if step == Step::Rollback {
            add(&self.home.counts.rollbacks, 1);
        }
        let before = self.home.lineage().chain().cloned();
        let next = self.revision.kept();
        let chain = match before {
            None => Chain::first(next),
            Some(before) => {
                let watched = self.home.policy().probation.as_millis();
                let now = self.home.services.runtime.clock.unix_ms();
                let until = now.saturating_add(u64::try_from(watched).unwrap_or(u64::MAX));
                before.follow(next, step, broken, Some(until))
            }
        };
        self.home.lineage().turn(chain.clone(), retired);
        self.watch(&chain, step);
        if let Err(error) = archive.put_chain(&name, &chain).await {
            tracing::error!(target: "weir::plugin", plugin = name, %error, "a rollback after a restart is not possible");
        }
        self.show_lineage();
    }

    /// Begins the probation that the chain says, or goes on with it.
    fn watch(&mut self, chain: &Chain, step: Step) {
        let now = self.home.services.runtime.clock.unix_ms();
        let left = chain.probation_until.and_then(|until| until.checked_sub(now)).filter(|left| *left > 0);
        // The clock of this machine may have been set back while the node did not run.
        let left = left.map(std::time::Duration::from_millis).map(|left| left.min(self.home.policy().probation));
        self.probation = match (step, self.probation.take(), left) {
            (Step::Reload, Some(running), _) => Some(running),
            (_, _, Some(left)) if chain.previous.is_some() => {
                let most = self.home.policy().probation_crashes;
                Some(Probation::new(Instant::now(), left, most, self.home.lineage().reversible()))
            }
            _ => None,
        };
    }

    /// Puts what is known of other revisions where the operator sees it.
    pub(in crate::plugin) fn show_lineage(&self) {
        let (previous, until, reversible) = {
            let lineage = self.home.lineage();
            let until = lineage.chain().and_then(|chain| chain.probation_until);
            (lineage.shown(&self.home.namespace), until, lineage.reversible())
        };
        let most_crashes = self.home.policy().probation_crashes.max(1);
        let probation = self.probation.as_ref().zip(until).map(|(probation, until_ms)| {
            let (muting, now) = (self.home.muting(), Instant::now());
            let crashes = probation.crashes(|peer| muting.others_succeed(peer, now));
            ProbationInfo { until_ms, crashes, most_crashes, reversible }
        });
        let owner = self.home.services.archive.owner(&self.home.name).ok().flatten();
        self.home.update_info(|info| {
            info.previous = previous;
            info.probation = probation;
            info.store_owner = owner.map(|owner| owner.to_string());
        });
    }

    /// A crash of the revision that runs, in an event of this peer if there is one: whether its probation says anything
    /// about it.
    pub(in crate::plugin) fn on_probation(&mut self, report: &CrashReport, by: Option<PeerId>) -> Ruling {
        let Some(probation) = &mut self.probation else { return Ruling::Stay };
        let now = Instant::now();
        let ruling = {
            let muting = self.home.muting();
            probation.crashed(now, &report.failure, by, |peer| muting.others_succeed(peer, now))
        };
        if !probation.lasts(now) {
            self.probation = None;
        }
        self.show_lineage();
        ruling
    }

    /// Goes back to the revision before, because the one that runs crashed more than it may while it was watched and the
    /// one before can read what it wrote. None when that is not so, or it cannot be made; nothing has changed then.
    ///
    /// The instance is gone when this returns, and `self.revision` is the one before: it is made anew as after any crash,
    /// and goes on with what was left of the batch. Bounded by the time it takes to compile a file, where the one before is not in memory.
    pub(in crate::plugin) async fn fall_back(&mut self, report: &CrashReport) -> Option<()> {
        let ruling = self.probation.as_ref().map_or(Ruling::Stay, |probation| probation.exhausted(Instant::now()));
        if ruling != Ruling::FallBack {
            return None;
        }
        self.probation = None;
        let (kept, in_memory) = self.home.lineage().previous()?;
        let revision = match in_memory {
            Some(revision) => revision,
            None => self.recalled(&kept).await?,
        };
        revision.recall();
        // One that is made anew comes from a crash, like the one it takes the place of.
        revision.step(RevisionEvent::Crashed);
        let failed = std::mem::replace(&mut self.revision, revision);
        failed.retire();
        self.instance = None;
        self.comeback = Some(abi::Predecessor {
            version: failed.manifest.version.clone(),
            data_version: failed.manifest.data_version,
            snapshot: None,
        });
        self.forget_faults();
        self.fresh = true;
        let (name, from, to) = (self.home.name.clone(), &failed.manifest.version, &kept.version);
        let why =
            format!("went back from {from} to {to}, because {from} crashed too often after its upgrade: {report}");
        tracing::error!(target: "weir::plugin", plugin = name, "{why}");
        self.home.update_info(|info| info.fell_back = Some(why));
        self.succeed(Some(failed.clone()), Step::Rollback, true).await;
        self.show();
        Some(())
    }

    async fn recalled(&self, kept: &super::KeptRecord) -> Option<Arc<Revision>> {
        let services = &self.home.services;
        let stage = Stage { engine: &self.engine, policy: &services.policy, archive: &services.archive };
        match stage.recall(&self.home.name, kept).await {
            Ok(revision) => Some(revision),
            Err(error) => {
                tracing::error!(target: "weir::plugin", plugin = self.home.name, %error, "the revision before cannot come back");
                None
            }
        }
    }
}

fn layout_of(revision: &Revision) -> LayoutRecord {
    let manifest = &revision.manifest;
    LayoutRecord { data_version: manifest.data_version, version: manifest.version.clone() }
}
