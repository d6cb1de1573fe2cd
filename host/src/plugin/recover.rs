//! After a failed turn: a fresh instance, the batch once more event by event, and only what fails alone is lost.

use std::sync::Arc;

use tokio::time::Instant;

use super::CallError;
use super::abi;
use super::actor::{Actor, Flow};
use super::crash::{CallFailure, CrashKind, CrashReport};
use super::home::add;
use super::instance::Instance;
use super::lifecycle::{RevisionEvent, Ruling};
use super::mailbox::{Batch, Item};
use super::revision::Revision;
use crate::peer::PeerId;
use crate::protocol::{Handler, News};
use crate::wire::Failure;

impl Actor {
    /// Handles a batch whose turn failed.
    pub(super) async fn recover(&mut self, mut batch: Batch, failure: CallFailure) {
        self.abandon(&batch);
        let items = std::mem::take(&mut batch.items);
        // One event that failed alone is the culprit, unless it was short of memory: a fresh instance has more.
        let alone = items.len() == 1 && failure.refused_memory.is_none();
        let (mut first, mut together) = if alone { (Some(failure), None) } else { (None, Some(failure)) };
        if first.is_none() && self.restart().await.is_break() {
            return items.iter().for_each(|item| self.lose(&batch, item));
        }
        let mut rest = items.into_iter().enumerate();
        while let Some((position, item)) = rest.next() {
            let outcome = match first.take() {
                Some(failure) => Err(failure),
                None => self.again(&batch, &item).await,
            };
            let Err(failure) = outcome else { continue };
            together = None;
            let report = self.report(item.kind(), Some(position), batch.peer(&item), failure);
            self.lose(&batch, &item);
            self.abandon(&Batch { items: rest.clone().map(|(_, item)| item).collect(), ..Batch::default() });
            if self.count_crash(&report).await.is_break() || self.restart().await.is_break() {
                return rest.for_each(|(_, item)| self.lose(&batch, &item));
            }
        }
        if let Some(failure) = together {
            self.failed_together(failure).await;
        }
    }

    /// Every event of a failed batch succeeded alone: nothing is lost, and the operator hears of it all the same. Only
    /// a timeout counts: a plugin that needs more than its time for every batch keeps the node busy for nothing.
    async fn failed_together(&mut self, failure: CallFailure) {
        let position = failure.panic.as_ref().and_then(|panic| panic.event).map(|event| event as usize);
        let timed_out = failure.kind == CrashKind::Timeout;
        let report = self.report("batch", position, None, failure);
        // Whether it lives or is quarantined, the operator sees it in the list. What came back has no instance yet.
        if timed_out && self.count_crash(&report).await.is_continue() && self.instance.is_none() {
            let _ = self.restart().await;
        }
    }

    /// Runs one event of a failed batch in a turn of its own.
    async fn again(&mut self, batch: &Batch, item: &Item) -> Result<(), CallFailure> {
        let Some(instance) = &self.instance else { return Ok(()) };
        if !super::events::concerns(item, batch, &self.home.ledger(), instance.state()) {
            return Ok(());
        }
        self.turn(batch.single(item), true).await.1
    }

    /// Gives an event up: its sender or caller is told, and the plugin if it was a message.
    fn lose(&mut self, batch: &Batch, item: &Item) {
        let failure = || Failure {
            code: "plugin-crashed".to_owned(),
            message: format!("plugin {} crashed on this and goes on without it", self.home.name),
        };
        match item {
            Item::Message { lane, .. } => {
                if let Some((peer, protocol)) = batch.lanes.get(*lane as usize).cloned() {
                    self.home.mailbox.news(News::Missed { peer, protocol, messages: 1 });
                }
            }
            Item::Request { token, .. } => {
                self.home.ledger().requests.remove(token);
                self.home.network().respond(*token, Err(failure()));
            }
            Item::Command(head, _) => {
                self.home.ledger().commands.remove(&head.id);
                self.home.services.desk.answer(head.id, Err(CallError::Failed(failure())), None);
            }
            _ => {}
        }
        add(&self.home.counts.dropped, 1);
    }

    /// Puts a crash into the log and where the operator sees it.
    pub(super) fn report(
        &self,
        event: &str,
        position: Option<usize>,
        peer: Option<PeerId>,
        failure: CallFailure,
    ) -> CrashReport {
        self.report_of(&self.revision, event, position, peer, failure)
    }

    /// The same for a revision that is not the one that runs.
    pub(super) fn report_of(
        &self,
        revision: &Revision,
        event: &str,
        position: Option<usize>,
        peer: Option<PeerId>,
        failure: CallFailure,
    ) -> CrashReport {
        let manifest = &revision.manifest;
        let report = CrashReport {
            plugin: manifest.name.clone(),
            version: manifest.version.clone(),
            revision: revision.number,
            event: event.to_owned(),
            position,
            peer,
            failure,
        };
        tracing::error!(target: "weir::plugin", plugin = %report.plugin, "{report}");
        self.home.update_info(|info| {
            info.last_error = Some(report.to_string());
            info.last_crash = Some(report.clone());
        });
        report
    }

    /// Counts a crash; breaks when the plugin is quarantined for it. When the revision before took its place, its
    /// instance has yet to be made.
    async fn count_crash(&mut self, report: &CrashReport) -> Flow {
        let ruling = self.on_probation(report);
        let spent = self.budget.crashed(Instant::now()) || ruling != Ruling::Stay;
        if !spent || self.fall_back(report).await.is_some() {
            return Flow::Continue(());
        }
        self.instance = None;
        self.leave();
        self.step(RevisionEvent::Exhausted);
        let (plugin, policy) = (self.home.name.as_str(), self.home.policy());
        let (crashes, seconds) = (policy.crash_budget, policy.crash_window.as_secs());
        let advice = if ruling == Ruling::Quarantine {
            "the revision before cannot read what it wrote: upgrade it, or go back with `weir plugin rollback NAME \
             --restore-store`, which brings back the copy of its store made before the upgrade"
        } else {
            "upgrade, roll back or unload it"
        };
        tracing::error!(
            target: "weir::plugin", plugin,
            "quarantined, because it crashed more than {crashes} times within {seconds} s or than its probation allows: \
             its protocols are unregistered; {advice}"
        );
        Flow::Break(())
    }

    /// Makes the running revision anew. It has heard who is there when this returns; breaks when it cannot be made.
    pub(super) async fn restart(&mut self) -> Flow {
        loop {
            let Err((event, failure)) = self.try_restart().await else { return Flow::Continue(()) };
            let report = self.report(event, None, None, failure);
            self.abandon(&Batch::default());
            self.count_crash(&report).await?;
        }
    }

    async fn try_restart(&mut self) -> Result<(), (&'static str, CallFailure)> {
        self.step(RevisionEvent::Retried);
        if let Err(failed) = self.make_anew().await {
            self.step(RevisionEvent::Crashed);
            return Err(failed);
        }
        // The revision that failed was told of; from now on this one crashes on its own account.
        self.comeback = None;
        self.tell_all().await.map_err(|failure| ("peer-supported", failure))
    }

    async fn make_anew(&mut self) -> Result<(), (&'static str, CallFailure)> {
        let made = Instance::create(&self.engine, &self.home, &self.revision, self.now).await;
        let instance = made.map_err(|failure| ("instantiation", failure))?;
        let cause = if self.comeback.is_some() { abi::Cause::Rollback } else { abi::Cause::Crash };
        let init = self.init(&self.revision, cause, self.comeback.clone());
        let revision = Arc::clone(&self.revision);
        self.activate(revision, instance, init).await.map_err(|why| ("start", why.1))
    }
}
