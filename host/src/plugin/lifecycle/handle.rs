//! The operator's part in a change: load, upgrade and rollback, each checked before anything of what runs is touched.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::change::Plan;
use super::options::{ChangeOptions, KeptPlugin, Rollback};
use super::record::KeptRecord;
use super::stage::{Stage, Staged};
use super::succession::{Chain, Step};
use crate::plugin::actor::{Actor, Control};
use crate::plugin::error::store_failed;
use crate::plugin::home::Home;
use crate::plugin::info::{PluginInfo, UpgradeReport};
use crate::plugin::instance::Instance;
use crate::plugin::mailbox::Mailbox;
use crate::plugin::plugins::{Plugins, Running, ask, note};
use crate::plugin::revision::{PluginSettings, PluginSource, Revision};
use crate::plugin::supervision::Quarantines;
use crate::plugin::trust::{Identity, Owner};
use crate::plugin::upgrade::Swap;
use crate::plugin::{CrashReport, Digest, PluginError, Quarantine, abi};

/// Requests to one actor that may wait; lifecycle calls are serialised anyway.
const CONTROL_QUEUE: usize = 4;
/// How long a change of what runs may take once the new revision is there: longer than all turns that old code may have
/// to be cut off in, so that only a fault of the node or a dead disk reaches it.
const CHANGE_TIME: Duration = Duration::from_secs(120);

impl Plugins {
    fn stage(&self) -> Stage<'_> {
        Stage { engine: &self.0.engine, policy: &self.0.services.policy, archive: self.archive() }
    }

    /// [`Plugins::load_named`] with all that an operator may say.
    ///
    /// # Errors
    /// As for [`Plugins::load`].
    pub async fn load_with(
        &self,
        source: PluginSource,
        named: impl FnOnce(&str, PluginSettings) -> Result<PluginSettings, PluginError>,
        options: ChangeOptions,
    ) -> Result<PluginInfo, PluginError> {
        let Staged { revision, bytes } =
            self.stage().prepare(source, options.signature.as_deref(), None, named).await?;
        let _alone = self.0.lifecycle.lock().await;
        let name = revision.manifest.name.clone();
        if self.running().contains_key(&name) {
            return Err(PluginError::NameTaken { plugin: name });
        }
        let archive = self.archive();
        archive.finish_restore(&name).await?;
        let before = if archive.is_empty(&name) { None } else { archive.owner(&name)? };
        let owner = admit(&name, before.as_ref(), &revision.identity, options.adopt)?;
        let restore = self.check_layout(&name, &revision, options.restore_store)?;
        let (chain, digest) = (archive.chain(&name)?, revision.identity.digest);
        let step = chain.as_ref().map_or(Step::Upgrade, |chain| chain.step_to(&digest.to_string()));
        let mailbox = Arc::new(Mailbox::new(&revision.policy));
        let services = self.0.services.clone();
        let home = Arc::new(Home::new(services, revision.policy.clone(), mailbox.clone(), new_info(&revision)));
        if let Some(chain) = chain {
            home.lineage().turn(chain, None);
        }
        home.letters.open().await.map_err(store_failed(&name))?;
        home.restore_mutes(&digest.to_string()).map_err(store_failed(&name))?;
        let mut actor = Actor::new(self.0.engine.clone(), home.clone(), revision.clone());
        // One that the node had to quarantine before it ended stays so until its time is over; not on another store,
        // which may be all that was wrong.
        let quarantine = if restore.is_some() { None } else { self.quarantine_of(&revision)? };
        let quarantined = quarantine.is_some_and(|quarantine| actor.restore_quarantine(quarantine));
        if quarantined {
            archive.set_owner(&name, &owner).await?;
        } else {
            let instance = self.instance(&home, &revision).await?;
            let cause = if options.boot { abi::Cause::Boot } else { abi::Cause::Load };
            // Before the first write, like the layout: what a crash of the node leaves must not be anybody's.
            let noted = archive.owner(&name)?;
            archive.set_owner(&name, &owner).await?;
            if let Err(error) = actor.first(instance, cause, restore).await {
                archive.leave_owner(&name, noted.as_ref()).await;
                return Err(error);
            }
        }
        if restore.is_some() {
            self.forget_quarantine(&name).await;
        }
        actor.succeed(None, step, false).await;
        let sweep = home.lineage().leaves_files();
        self.stage().shelve(digest, bytes, sweep).await;
        if !quarantined {
            self.desk().enter(&name, mailbox);
        }
        let (control, asked) = mpsc::channel(CONTROL_QUEUE);
        let task = tokio::spawn(actor.run(asked));
        let info = home.info();
        note(&home, &info, format!("version {} is loaded", info.version));
        self.running().insert(name, Running { home, control, task });
        Ok(info)
    }

    /// Whether the revision can run on the store as it is, or on which copy of it.
    fn check_layout(&self, name: &str, revision: &Revision, restore: bool) -> Result<Option<u64>, PluginError> {
        if restore {
            let copy = self.archive().newest_copy(name, revision.layouts())?;
            let (number, _) = copy.ok_or_else(|| PluginError::NoCopy { plugin: name.to_owned() })?;
            return Ok(Some(number));
        }
        let layout = self.archive().layout(name)?.filter(|layout| !revision.layouts().fits(layout.data_version));
        let Some(layout) = layout else { return Ok(None) };
        Err(PluginError::Layout {
            plugin: name.to_owned(),
            version: revision.manifest.version.clone(),
            reads_from: revision.manifest.reads_data_from,
            data_version: revision.manifest.data_version,
            layout: layout.data_version,
            writer: layout.version,
        })
    }

    async fn instance(&self, home: &Arc<Home>, revision: &Arc<Revision>) -> Result<Instance, PluginError> {
        let now = self.0.services.runtime.clock.unix_ms();
        Instance::create(&self.0.engine, home, revision, now).await.map_err(|failure| {
            let report = CrashReport::new(&revision.manifest, revision.number, "instantiation", None, None, failure);
            PluginError::Start { report: Box::new(report) }
        })
    }

    fn quarantine_of(&self, revision: &Revision) -> Result<Option<Quarantine>, PluginError> {
        let (name, digest) = (&revision.manifest.name, revision.identity.digest.to_string());
        let found = Quarantines::new(&self.0.services.store).of(name, &digest);
        found.map_err(store_failed(name))
    }

    /// [`Plugins::upgrade`] with all that an operator may say.
    ///
    /// # Errors
    /// As for [`Plugins::upgrade`].
    pub async fn upgrade_with(
        &self,
        name: &str,
        source: PluginSource,
        options: ChangeOptions,
    ) -> Result<UpgradeReport, PluginError> {
        self.find(name)?;
        let signature = options.signature.as_deref();
        let Staged { revision, bytes } =
            self.stage().prepare(source, signature, Some(name), |_, settings| Ok(settings)).await?;
        let _alone = self.0.lifecycle.lock().await;
        let (home, control) = self.find(name)?;
        let running = home.lineage().chain().map(|chain| chain.running.clone()).unwrap_or_default();
        check_successor(name, &revision, running.data_version)?;
        let before = self.archive().owner(name)?;
        let owner = admit(name, before.as_ref(), &revision.identity, options.adopt)?;
        let digest = revision.identity.digest;
        let step = if running.digest == digest.to_string() { Step::Reload } else { Step::Upgrade };
        let plan = Plan { step, skip_snapshot: options.skip_snapshot, restore: None };
        // Before the first write, like the layout: what a crash of the node leaves must not be anybody's.
        self.archive().set_owner(name, &owner).await?;
        let swapped = self.swap(&home, &control, revision, plan).await;
        // Of one that is late nobody knows whether it runs.
        if matches!(&swapped, Err(error) if !matches!(error, PluginError::Runtime { .. })) {
            self.archive().leave_owner(name, before.as_ref()).await;
        }
        let report = swapped?;
        home.update_info(|info| {
            info.store_owner = Some(owner.to_string());
            info.fell_back = None;
        });
        let sweep = home.lineage().leaves_files();
        self.stage().shelve(digest, bytes, sweep).await;
        Ok(UpgradeReport { plugin: home.info(), ..report })
    }

    /// Hands a revision to the actor, and waits until it runs or does not.
    async fn swap(
        &self,
        home: &Arc<Home>,
        control: &mpsc::Sender<Control>,
        revision: Arc<Revision>,
        plan: Plan,
    ) -> Result<UpgradeReport, PluginError> {
        let from_version = home.info().version;
        let instance = Box::new(self.instance(home, &revision).await?);
        let swapped = ask(control, |reply| Control::Upgrade { revision, instance, plan, reply });
        let late = |_| PluginError::Runtime {
            reason: format!(
                "the change was not done within {} s; `weir plugin list` shows what runs",
                CHANGE_TIME.as_secs()
            ),
        };
        let swap: Swap = timeout(CHANGE_TIME, swapped).await.map_err(late)??;
        let Swap { pause, snapshot_bytes, snapshot_skipped, copied_bytes, restored_bytes } = swap;
        let plugin = home.info();
        let held = pause.as_micros();
        let done = if plan.step == Step::Rollback { "rolled back" } else { "upgraded" };
        note(home, &plugin, format!("{done} from {from_version} to {}, held for {held} µs", plugin.version));
        let report = UpgradeReport {
            plugin,
            from_version,
            pause,
            snapshot_bytes,
            snapshot_skipped,
            copied_bytes,
            restored_bytes,
        };
        Ok(report)
    }

    /// Puts the revision that ran before in the place of the running one: as an upgrade, so that nothing that waits is
    /// lost. The one that ran is kept, so a second rollback takes the first one back. A cancelled call may have done it
    /// or not.
    ///
    /// # Errors
    /// When there is none, or it cannot read the store as it is and no copy is to be brought back. What runs goes on.
    pub async fn rollback(&self, name: &str, how: Rollback) -> Result<UpgradeReport, PluginError> {
        let _alone = self.0.lifecycle.lock().await;
        let (home, control) = self.find(name)?;
        let previous = home.lineage().previous();
        let (kept, in_memory) = previous.ok_or_else(|| PluginError::NoPrevious { plugin: name.to_owned() })?;
        let revision = match in_memory {
            Some(revision) => revision,
            None => self.stage().recall(name, &kept).await?,
        };
        let restore = self.rollback_ground(name, &kept, &home, how)?;
        let mut plan = Plan { step: Step::Rollback, skip_snapshot: how.skip_snapshot, restore };
        revision.recall();
        let mut outcome = self.swap(&home, &control, revision.clone(), plan).await;
        // Old code need not understand the memory of new code: the store is the truth.
        if matches!(outcome, Err(PluginError::Start { .. })) && !plan.skip_snapshot {
            plan = Plan { skip_snapshot: true, restore: None, ..plan };
            if restore.is_none() {
                revision.recall();
                outcome = self.swap(&home, &control, revision, plan).await;
            }
        }
        outcome
    }

    /// Which copy of the store takes its place, if one does.
    fn rollback_ground(
        &self,
        name: &str,
        kept: &KeptRecord,
        home: &Home,
        how: Rollback,
    ) -> Result<Option<u64>, PluginError> {
        if how.restore_store {
            let copy = self.archive().newest_copy(name, kept.layouts())?;
            return copy.map(|(number, _)| Some(number)).ok_or_else(|| PluginError::NoCopy { plugin: name.to_owned() });
        }
        if home.lineage().reversible() || self.archive().is_empty(name) {
            return Ok(None);
        }
        let layout = self.archive().layout(name)?;
        let (layout, writer) = layout.map_or((0, String::new()), |layout| (layout.data_version, layout.version));
        Err(PluginError::Layout {
            plugin: name.to_owned(),
            version: kept.version.clone(),
            reads_from: kept.reads_data_from,
            data_version: kept.data_version,
            layout,
            writer,
        })
    }

    /// What the revision that runs was given: what an upgrade that names no settings may inherit, and no more.
    pub fn settings(&self, name: &str) -> Option<PluginSettings> {
        let (home, _) = self.find(name).ok()?;
        let kept = home.lineage().chain()?.running.clone();
        Some(kept.settings())
    }

    /// The revision to load in the place of a file that was rolled back from; None for every other file.
    ///
    /// # Errors
    /// When its bytes are not there any more.
    pub async fn instead_of(&self, digest: &Digest) -> Result<Option<KeptPlugin>, PluginError> {
        let Some((name, Chain { running: kept, .. })) = self.archive().rolled_back_from(digest) else {
            return Ok(None);
        };
        let source = self.stage().kept_source(&name, &kept).await?;
        let KeptRecord { version, signature, .. } = kept;
        Ok(Some(KeptPlugin { name, version, source, signature }))
    }
}

/// Whose the plugin's store is after this file got it.
fn admit(name: &str, before: Option<&Owner>, identity: &Identity, adopt: bool) -> Result<Owner, PluginError> {
    Owner::admit(before, identity, adopt).map_err(|foreign| PluginError::ForeignStore {
        plugin: name.to_owned(),
        owner: foreign.owner.to_string(),
        found: match foreign.claim {
            Owner::Anyone => "nobody that could be told from another (it has no trusted signature)".to_owned(),
            claim => claim.to_string(),
        },
    })
}

fn new_info(revision: &Revision) -> PluginInfo {
    let (manifest, identity) = (&revision.manifest, &revision.identity);
    PluginInfo {
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        state: revision.state(),
        revision: revision.number,
        digest: identity.digest.to_string(),
        signer: identity.signer.map(|signer| signer.to_string()),
        data_version: manifest.data_version,
        durability: revision.durability,
        code: revision.code,
        ..PluginInfo::named(&manifest.name)
    }
}

fn check_successor(name: &str, revision: &Revision, running: u32) -> Result<(), PluginError> {
    let manifest = &revision.manifest;
    if manifest.name != name {
        return Err(PluginError::NameMismatch { expected: name.to_owned(), found: manifest.name.clone() });
    }
    if revision.layouts().fits(running) {
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
