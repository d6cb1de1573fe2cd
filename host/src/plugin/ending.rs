//! How a plugin ends, and what it leaves open when an instance of it does: its last turns, farewells and refusals.

use std::time::Duration;

use tokio::time::Instant;

use super::CallError;
use super::actor::Actor;
use super::home::gone;
use super::ledger::Owed;
use super::lifecycle::RevisionEvent;
use super::mailbox::{Batch, Item};

/// How long a plugin that ends waits for its peers to take what it sent.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Actor {
    /// Handles what the mailbox holds now: its senders count it as delivered. The time is looked at between two steps.
    pub(super) async fn work_off(&mut self, until: Instant) {
        let mut turns = self.home.mailbox.turns();
        loop {
            // Between two runs of a failed batch there is none for a moment.
            let stands = self.instance.is_none() && (self.rescue.is_none() || self.supervision.wake().is_some());
            // Only such a step empties the mailbox. A start, a welcome and the parts of a batch that failed, or was too
            // large for one turn, are steps, too, and how many come of a batch is known only afterwards.
            let takes = self.instance.is_some() && self.retell.is_empty() && self.rescue.is_none();
            if stands || takes && turns == 0 || Instant::now() >= until {
                return;
            }
            turns -= usize::from(takes);
            self.work().await;
        }
    }

    /// The last turns, then the end of everything the plugin had. Bounded by the deadline.
    pub(super) async fn stop(&mut self, deadline: Instant) {
        // The last turn needs the other half of the time. One that is cut off takes its instance with it.
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let _ = tokio::time::timeout_at(deadline, self.work_off(half)).await;
        if self.instance.is_some() {
            self.step(RevisionEvent::Drained);
            self.tick();
            let batch = Batch { items: vec![Item::Stopping], ..Batch::default() };
            if let Ok((_, Err(failure))) = tokio::time::timeout_at(deadline, self.turn(batch, false)).await {
                self.report("stopping", None, None, failure);
            }
            self.last_words(deadline).await;
        }
        self.instance = None;
        self.give_up_rescue();
        self.leave();
        self.revision.retire();
        self.home.update_info(|info| info.state = self.revision.state());
    }

    /// Lets what was sent arrive: peers hand over nothing of a protocol once they know that it is gone.
    async fn last_words(&self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + LAST_WORDS);
        for id in self.registered.keys() {
            if tokio::time::timeout_at(deadline, self.home.network().settled(id)).await.is_err() {
                return;
            }
        }
    }

    /// Unregisters everything and fails whatever was open.
    pub(super) fn leave(&mut self) {
        for id in std::mem::take(&mut self.registered).into_keys() {
            self.home.network().unregister(&id);
        }
        self.abandon(&Batch::default());
        self.home.services.desk.leave(&self.home.name);
        self.home.close_mailbox();
        self.told.clear();
        self.retell.clear();
        self.home.update_info(|info| info.protocols.clear());
    }

    /// Ends what a dead instance had open, except what the batch holds, which will be heard again.
    pub(super) fn abandon(&mut self, batch: &Batch) {
        self.home.mailbox.resume_all();
        self.end(self.owed_beside(batch));
    }

    /// All that is open now, except what the batch holds.
    pub(super) fn owed_beside(&self, batch: &Batch) -> Owed {
        let mut owed = self.home.ledger().owed();
        for item in &batch.items {
            match item {
                Item::Request { token, .. } => drop(owed.requests.remove(token)),
                Item::Command(head, _) => drop(owed.commands.remove(&head.id)),
                _ => {}
            }
        }
        owed
    }

    /// Ends what of these is still open: nobody will answer it, and nobody hears its outcome.
    pub(super) fn end(&self, owed: Owed) {
        let owed = self.home.ledger().close(owed);
        for ask in owed.asks {
            self.home.network().cancel(ask);
        }
        for call in owed.calls {
            self.home.services.desk.withdraw(call);
        }
        for token in owed.requests {
            self.home.network().respond(token, Err(gone()));
        }
        for command in owed.commands {
            self.home.services.desk.answer(command, Err(CallError::Gone), None);
        }
    }
}
