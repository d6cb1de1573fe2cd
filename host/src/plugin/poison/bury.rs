//! Puts a culprit aside: a dead letter on the disk, a word to whoever waits, and the question whose fault it was.

use tokio::time::Instant;

use super::letter::LetterEvent;
use super::letters::Room;
use super::muting::Verdict;
use crate::peer::PeerId;
use crate::plugin::actor::Actor;
use crate::plugin::crash::CrashReport;
use crate::plugin::home::add;
use crate::plugin::mailbox::{Batch, Item};
use crate::plugin::{CallError, LogLevel};
use crate::protocol::{Handler, News};
use crate::wire::Failure;

impl Actor {
    /// Makes the culprit a dead letter. False when it is such that the plugin cannot go on without it.
    pub(super) async fn bury(&mut self, batch: &Batch, item: &Item, report: &CrashReport) -> bool {
        let Some(event) = LetterEvent::of(batch, item) else {
            // The last words are said, well or not.
            return matches!(item, Item::Stopping);
        };
        let policy = self.home.policy();
        let room = Room { letters: policy.dead_letters, bytes: policy.dead_letter_bytes };
        let body = item.place().map(|place| batch.body(place)).unwrap_or_default();
        let kept = self.home.letters.put(event, body, report.clone(), self.now, room).await;
        let plugin = self.home.name.as_str();
        match kept {
            Ok(letter) => {
                let (id, kind) = (letter.id, item.kind());
                let message = format!("a {kind} became dead letter {id}; `weir plugin dead-letters {plugin}` shows it");
                tracing::warn!(target: "weir::plugin", plugin, id, sha256 = letter.sha256, "{message}");
                self.home.note(LogLevel::Warn, report.revision, Some(kind), report.peer, message);
            }
            Err(error) => tracing::error!(target: "weir::plugin", plugin, %error, "a dead letter was not kept"),
        }
        self.lose(batch, item);
        true
    }

    /// Gives an event up: its sender or caller is told, and the plugin if it was a message.
    pub(super) fn lose(&self, batch: &Batch, item: &Item) {
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

    /// Gives up an event of a peer that was muted since it came.
    pub(super) fn turn_away(&self, batch: &Batch, item: &Item) {
        if let Item::Request { token, .. } = item {
            let message = "muted: events of this peer made the plugin fail".to_owned();
            self.home.ledger().requests.remove(token);
            self.home.network().respond(*token, Err(Failure { code: "muted".to_owned(), message }));
        }
        self.lose(batch, item);
    }

    /// Finds out whose fault a culprit was, and mutes its sender if it was the sender's.
    pub(super) async fn blame(&mut self, batch: &Batch, item: &Item, report: &CrashReport) {
        let Some(lane) = batch.lane(item).cloned() else { return };
        // More memory than it may have is what a plugin asks for, not a peer.
        if report.failure.refused_memory.is_some() {
            return;
        }
        let place = report.failure.place();
        let by_itself = self.trial(batch, item).await.is_some_and(|failure| failure.place() == place);
        let verdict = self.home.muting().failed(&lane, &place, by_itself, Instant::now());
        let plugin = self.home.name.as_str();
        match verdict {
            Verdict::OwnFault { heard_again } => {
                tracing::warn!(
                    target: "weir::plugin", plugin, place,
                    "{}", if by_itself { "events of two peers fail here: the plugin's own fault" } else {
                        "it fails because of what is in its store: the plugin's own fault, whoever sent the event"
                    }
                );
                self.home.hear_again(&heard_again);
            }
            Verdict::Suspected => {}
            Verdict::Muted(time) => {
                tracing::warn!(
                    target: "weir::plugin", plugin, peer = %lane.0.short(), protocol = %lane.1, place,
                    "peer muted for {} s: its events make the plugin fail and others' do not; \
                     `weir plugin unmute {plugin} {}` lifts it", time.as_secs(), lane.0
                );
                self.blamed(&lane.0);
                self.home.mute(&lane, time);
            }
        }
    }
}

impl Batch {
    /// The lane by which an event of a peer came.
    pub(super) fn lane(&self, item: &Item) -> Option<&(PeerId, crate::protocol::ProtocolId)> {
        match item {
            Item::Message { lane, .. } | Item::Request { lane, .. } => self.lanes.get(*lane as usize),
            _ => None,
        }
    }

    /// The peer that sent an event.
    pub(super) fn sender(&self, item: &Item) -> Option<PeerId> {
        self.lane(item).map(|(peer, _)| *peer)
    }
}
