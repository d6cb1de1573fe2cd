//! After a failed turn: a fresh instance, the batch once more event by event, and only what fails alone is lost.

use std::sync::Arc;

use tokio::time::Instant;

use super::abi;
use super::actor::{Actor, Flow};
use super::crash::{CallFailure, CrashKind, CrashReport};
use super::home::add;
use super::instance::Instance;
use super::mailbox::{Batch, Item};
use super::revision::Revision;
use super::{CallError, LogLevel, PluginState};
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
            self.report(item.kind(), Some(position), batch.peer(&item), failure);
            self.lose(&batch, &item);
            self.abandon(&Batch { items: rest.clone().map(|(_, item)| item).collect(), ..Batch::default() });
            if self.count_crash().is_break() || self.restart().await.is_break() {
                return rest.for_each(|(_, item)| self.lose(&batch, &item));
            }
        }
        if let Some(failure) = together {
            self.failed_together(failure);
        }
    }

    /// Every event of a failed batch succeeded alone: nothing is lost, and the operator hears of it all the same. Only
    /// a timeout counts: a plugin that needs more than its time for every batch keeps the node busy for nothing.
    fn failed_together(&mut self, failure: CallFailure) {
        let position = failure.panic.as_ref().and_then(|panic| panic.event).map(|event| event as usize);
        let timed_out = failure.kind == CrashKind::Timeout;
        self.report("batch", position, None, failure);
        if timed_out {
            // Whether it lives or is quarantined, the operator sees it in the list.
            let _ = self.count_crash();
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
        self.home.note(LogLevel::Error, report.revision, Some(event), peer, report.to_string());
        self.home.update_info(|info| {
            info.last_error = Some(report.to_string());
            info.last_crash = Some(report.clone());
        });
        report
    }

    /// Counts a crash; breaks when the plugin is quarantined for it.
    fn count_crash(&mut self) -> Flow {
        if !self.budget.crashed(Instant::now()) {
            return Flow::Continue(());
        }
        self.instance = None;
        self.leave();
        self.home.update_info(|info| info.state = PluginState::Quarantined);
        let (plugin, policy) = (self.home.name.as_str(), self.home.policy());
        let (crashes, seconds) = (policy.crash_budget, policy.crash_window.as_secs());
        let message = format!(
            "quarantined after {crashes} crashes within {seconds} s: its protocols are unregistered; upgrade or unload it"
        );
        tracing::error!(target: "weir::plugin", plugin, "{message}");
        self.home.note(LogLevel::Error, self.revision.number, None, None, message);
        Flow::Break(())
    }

    /// Makes the running revision anew. It has heard who is there when this returns; breaks when it cannot be made.
    pub(super) async fn restart(&mut self) -> Flow {
        loop {
            let Err((event, failure)) = self.try_restart().await else { return Flow::Continue(()) };
            self.report(event, None, None, failure);
            self.abandon(&Batch::default());
            self.count_crash()?;
        }
    }

    async fn try_restart(&mut self) -> Result<(), (&'static str, CallFailure)> {
        let made = Instance::create(&self.engine, &self.home, &self.revision, self.now).await;
        let instance = made.map_err(|failure| ("instantiation", failure))?;
        let init = self.init(&self.revision, abi::Cause::Crash, None);
        let revision = Arc::clone(&self.revision);
        self.activate(revision, instance, init).await.map_err(|why| ("start", why.1))?;
        self.tell_all().await.map_err(|failure| ("peer-supported", failure))
    }
}
