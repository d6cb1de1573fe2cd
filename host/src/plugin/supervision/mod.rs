//! Starts a plugin again after a crash, at once or after a while, and quarantines one that crashes too often.
//!
//! `state` decides; `quarantine` is what the node remembers of it across its own restarts.

mod quarantine;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::quarantine::Quarantine;
pub use self::state::{CrashCause, SupervisionPolicy};

pub(super) use self::quarantine::Quarantines;
pub(super) use self::state::{Decision, Supervision};
use super::abi;
use super::actor::Actor;
use super::crash::{CallFailure, CrashKind, CrashReport};
use super::home::add;
use super::info::PluginInfo;
use super::instance::Instance;
use super::lifecycle::{RevisionEvent, Ruling};
use super::mailbox::Batch;
use super::poison::Pace;
use super::records::RecordError;
use super::{LogLevel, PluginError};
use crate::peer::PeerId;

impl From<CrashKind> for CrashCause {
    fn from(kind: CrashKind) -> Self {
        match kind {
            CrashKind::Trap => Self::Trap,
            CrashKind::Timeout => Self::Timeout,
            CrashKind::Error => Self::Error,
            CrashKind::BadResult => Self::BadResult,
            CrashKind::Commit => Self::Commit,
        }
    }
}

impl Actor {
    /// Counts a crash and does what follows from it. The instance is gone, or goes on when the crash was one of a whole
    /// batch whose events then went well.
    pub(super) async fn crashed(&mut self, report: &CrashReport, cause: CrashCause, by: Option<PeerId>) {
        let jitter = self.home.services.runtime.entropy.number();
        let now = Instant::now();
        let decision = match self.on_probation(report, by) {
            Ruling::Stay => self.supervision.crashed(cause, by, now, jitter),
            Ruling::FallBack if self.fall_back(report).await.is_some() => return,
            Ruling::FallBack | Ruling::Quarantine => self.supervision.give_up(now, jitter),
        };
        match decision {
            Decision::BackOff { .. } if self.instance.is_some() => drop(self.supervision.started(now)),
            Decision::Restart | Decision::BackOff { .. } => {}
            Decision::Quarantine { .. } => self.exhausted(report).await,
        }
    }

    /// What this peer's events cost is not the plugin's doing: neither its crash budget nor its probation counts it.
    pub(super) fn blamed(&mut self, peer: &PeerId) {
        self.supervision.blamed(peer);
        if let Some(probation) = &mut self.probation {
            probation.blamed(peer);
            self.show_lineage();
        }
    }

    /// The crash budget is used up: the revision before comes back, if this one is on probation and that one can read
    /// the store; else the plugin is unregistered, and its peers are told.
    pub(super) async fn exhausted(&mut self, report: &CrashReport) {
        if self.fall_back(report).await.is_some() {
            return;
        }
        self.probation = None;
        self.instance = None;
        self.give_up_rescue();
        self.leave();
        let times = self.supervision.times();
        let pause = self.supervision.wake().map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
        let clock = &self.home.services.runtime.clock;
        let quarantine = Quarantine::new(clock.unix_ms(), pause, times, &self.revision, report);
        let plugin = self.home.name.as_str();
        let message = format!(
            "quarantined for {} s after too many crashes: its protocols are unregistered; `weir plugin lift {plugin}` tries \
             it at once, an upgrade replaces it",
            pause.as_secs()
        );
        tracing::error!(target: "weir::plugin", plugin, times, "{message}");
        self.home.note(LogLevel::Error, self.revision.number, None, None, message);
        let kept = self.quarantines().put(&self.home.name, &quarantine).await;
        if let Err(error) = kept {
            tracing::error!(target: "weir::plugin", plugin, %error, "the quarantine will not survive the node");
        }
        self.step(RevisionEvent::Exhausted);
        self.home.update_info(|info| info.quarantine = Some(quarantine));
        self.show_lineage();
    }

    /// Whether the plugin is unregistered.
    pub(super) fn is_quarantined(&self) -> bool {
        self.supervision.is_quarantined()
    }

    /// Makes the running revision anew, once. It has heard who is there when that went well.
    pub(super) async fn revive(&mut self) {
        if !self.is_rescuing() {
            self.tick();
        }
        let returning = self.is_quarantined();
        self.supervision.starting();
        if returning {
            self.home.mailbox.reopen();
        }
        add(&self.home.counts.restarts, 1);
        self.step(RevisionEvent::Retried);
        match self.try_restart().await {
            Ok(()) => self.revived().await,
            Err((event, failure)) => {
                if returning {
                    self.home.close_mailbox();
                }
                self.instance = None;
                self.step(RevisionEvent::Crashed);
                let report = self.report(event, None, None, *failure);
                self.abandon(&self.left_to_rescue());
                self.crashed(&report, CrashCause::Start, None).await;
            }
        }
    }

    /// What the batch that is being rescued still holds.
    pub(super) fn left_to_rescue(&self) -> Batch {
        self.rescue.as_ref().map(super::poison::Rescue::left).unwrap_or_default()
    }

    async fn revived(&mut self) {
        self.fresh = true;
        // The revision that failed was told of; from now on this one crashes on its own account.
        self.comeback = None;
        if !self.supervision.started(Instant::now()) {
            return;
        }
        self.home.services.desk.enter(&self.home.name, self.home.mailbox.clone());
        tracing::info!(target: "weir::plugin", plugin = self.home.name, "back from its quarantine");
        self.home.note(LogLevel::Info, self.revision.number, None, None, "back from its quarantine".to_owned());
        self.home.update_info(|info| info.quarantine = None);
        self.note_end(self.quarantines().lift(&self.home.name).await);
    }

    /// Another revision runs: nothing is held against it, and the peers that the old one could not stand are heard.
    pub(super) async fn begin_anew(&mut self) {
        let was_quarantined = self.is_quarantined();
        self.forget_faults();
        if was_quarantined {
            self.home.services.desk.enter(&self.home.name, self.home.mailbox.clone());
            self.home.update_info(|info| info.quarantine = None);
            self.note_end(self.quarantines().forget(&self.home.name).await);
        }
    }

    /// What another revision did says nothing about the one that `self.revision` is now: its budgets begin anew.
    pub(super) fn forget_faults(&mut self) {
        let policy = &self.revision.policy;
        self.supervision = Supervision::new(policy.supervision);
        self.pace = Pace::new(policy.batch_events);
        self.home.unmute_all(policy.mute);
    }

    fn quarantines(&self) -> Quarantines {
        Quarantines::new(&self.home.services.store)
    }

    fn note_end(&self, ended: Result<(), RecordError>) {
        if let Err(error) = ended {
            tracing::error!(target: "weir::plugin", plugin = self.home.name, %error, "the quarantine is not forgotten");
        }
    }

    async fn try_restart(&mut self) -> Result<(), (&'static str, Box<CallFailure>)> {
        let made = Instance::create(&self.engine, &self.home, &self.revision, self.now).await;
        let instance = made.map_err(|failure| ("instantiation", Box::new(failure)))?;
        let cause = if self.comeback.is_some() { abi::Cause::Rollback } else { abi::Cause::Crash };
        let init = self.init(&self.revision, cause, self.comeback.clone());
        let revision = Arc::clone(&self.revision);
        self.activate(revision, instance, init).await.map_err(|why| ("start", Box::new(why.1)))?;
        self.tell_all().await.map_err(|failure| ("peer-supported", Box::new(failure)))
    }

    /// The operator wants a quarantined plugin to be tried now.
    pub(super) async fn lift(&mut self, reply: oneshot::Sender<Result<PluginInfo, PluginError>>) {
        let plugin = self.home.name.clone();
        let outcome = if self.supervision.lift() {
            self.revive().await;
            let info = self.home.info();
            match info.last_crash.clone().filter(|_| self.instance.is_none()) {
                Some(report) => Err(PluginError::Start { report: Box::new(report) }),
                None => Ok(info),
            }
        } else {
            Err(PluginError::NotQuarantined { plugin })
        };
        // Nobody waits for the outcome when the caller gave up.
        let _ = reply.send(outcome);
    }

    /// Takes a quarantine over that began before the node ended. False when its time is over: the plugin may start.
    pub(super) fn restore_quarantine(&mut self, quarantine: Quarantine) -> bool {
        let (now, unix_ms) = (Instant::now(), self.home.services.runtime.clock.unix_ms());
        let left = Duration::from_millis(quarantine.until_unix_ms.saturating_sub(unix_ms));
        // A clock that was set back must not make a quarantine longer than any is.
        let left = left.min(self.home.policy().supervision.longest_quarantine * 2);
        let until = (!left.is_zero()).then(|| now + left);
        self.supervision.restore(quarantine.times, until, now);
        if until.is_none() {
            return false;
        }
        drop(self.home.mailbox.close());
        self.home.update_info(|info| {
            info.last_error = Some(quarantine.report.to_string());
            info.last_crash = Some(quarantine.report.clone());
            info.quarantine = Some(quarantine);
        });
        self.step(RevisionEvent::Exhausted);
        true
    }
}
