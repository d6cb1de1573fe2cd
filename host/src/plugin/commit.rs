//! Carries out what a turn staged: first the store, then everything else in the order it was staged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::CallError;
use super::abi::weir::plugin::net::Verdict;
use super::calls::{PairLimits, Submission, Waiter};
use super::home::{Home, add};
use super::instance::InstanceState;
use super::mailbox::Caller;
use super::staged_lanes::StagedLane;
use super::store::{CommitTicket, Durability, StoreError};
use super::turn::{Commit, Effect, Report, Staged};
use crate::protocol::{AskId, Handler, Outgoing, ProtocolId, ProtocolSpec, RequestToken};
use crate::wire::Failure;

/// Protocols that are registered for a plugin.
pub(super) type Registered = BTreeMap<ProtocolId, ProtocolSpec>;

/// Commits the turn that ended ok. Of a strict plugin nothing leaves, and no timer is set, before its writes are on the
/// disk; a relaxed one's is written soon after.
///
/// # Errors
/// When the store refused, or the disk of a strict plugin. Nothing has left then.
pub(super) async fn commit(state: &mut InstanceState, registered: &mut Registered) -> Result<(), StoreError> {
    let home = state.home.clone();
    let rests_on = (state.durability, &mut state.settled);
    for (key, spec) in commit_staged(&home, &mut state.staged, rests_on, registered).await? {
        match spec {
            Some(spec) => drop(state.protocols.insert(key, spec)),
            None => drop(state.protocols.remove(&key)),
        }
    }
    Ok(())
}

/// Commits what was staged: the protocols by key as they are from now on, where the turn changed them. `settled` says
/// that all that the turn heard is on the disk.
async fn commit_staged(
    home: &Arc<Home>,
    staged: &mut Staged,
    (durability, settled): (Durability, &mut bool),
    registered: &mut Registered,
) -> Result<BTreeMap<u32, Option<ProtocolSpec>>, StoreError> {
    let writes = staged.writes.take();
    let commit = staged.take();
    // A strict turn that changes nothing rests on what is on the disk already, unless it heard of what may not be.
    let waits = durability == Durability::Strict && !(*settled && writes.is_empty());
    // An answer to a command is told when the disk has it, so such a turn makes the disk hurry.
    let answers = commit.effects.iter().any(|effect| matches!(effect, Effect::Answer { .. }));
    let durability = if waits || answers { Durability::Strict } else { Durability::Relaxed };
    let ticket = home.namespace.commit(writes, durability).await?;
    if waits {
        // Dropped here, the turn is written and nothing of it has left, as after a crash.
        ticket.clone().durable().await?;
        *settled = true;
    }
    let mut leaving = Leaving::new(home, registered, &ticket, &commit);
    let Commit { effects, lanes, mut keys } = commit;
    for effect in effects {
        leaving.carry_out(effect, &lanes);
    }
    leaving.flush(&lanes);
    let failed = leaving.failed;
    for lane in lanes.iter().filter(|lane| lane.was_refused()) {
        home.network().wants_room(&lane.peer, &lane.protocol);
    }
    if !keys.is_empty() {
        home.update_info(|info| info.protocols = registered.keys().cloned().collect());
    }
    for spec in keys.values_mut() {
        spec.take_if(|spec| failed.contains(&spec.id));
    }
    add(&home.counts.turns, 1);
    Ok(keys)
}

/// Effects on their way out. What goes to one lane leaves together.
struct Leaving<'a> {
    home: &'a Arc<Home>,
    registered: &'a mut Registered,
    ticket: &'a CommitTicket,
    outgoing: Vec<Vec<Outgoing>>,
    /// The lanes that something waits for, so that a turn of many answers does not look at all of them each time.
    waiting: Vec<usize>,
    /// Answers in a row, which leave together.
    answers: Vec<(RequestToken, Result<Bytes, Failure>)>,
    /// Protocols that another handler took since the turn looked.
    failed: Vec<ProtocolId>,
}

impl<'a> Leaving<'a> {
    fn new(home: &'a Arc<Home>, registered: &'a mut Registered, ticket: &'a CommitTicket, commit: &Commit) -> Self {
        let outgoing = commit.lanes.iter().map(|lane| Vec::with_capacity(lane.sends)).collect();
        Self { home, registered, ticket, outgoing, waiting: Vec::new(), answers: Vec::new(), failed: Vec::new() }
    }

    fn put(&mut self, lane: usize, what: Outgoing) {
        if let Some(queue) = self.outgoing.get_mut(lane) {
            if queue.is_empty() {
                self.waiting.push(lane);
            }
            queue.push(what);
        }
    }

    fn flush(&mut self, lanes: &[StagedLane]) {
        self.flush_answers();
        self.flush_lanes(lanes);
    }

    fn flush_answers(&mut self) {
        if !self.answers.is_empty() {
            self.home.network().respond_all(std::mem::take(&mut self.answers));
        }
    }

    fn flush_lanes(&mut self, lanes: &[StagedLane]) {
        for at in self.waiting.drain(..) {
            if let (Some(lane), Some(queue)) = (lanes.get(at), self.outgoing.get_mut(at)) {
                self.home.network().commit(&lane.peer, &lane.protocol, std::mem::take(queue));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, lanes: &[StagedLane]) {
        let home = self.home;
        if !matches!(effect, Effect::Respond { .. }) {
            self.flush_answers();
        }
        match effect {
            Effect::Message { lane, body } => self.put(lane, Outgoing::Message(body)),
            Effect::Messages { lanes, body } => {
                lanes.into_iter().for_each(|lane| self.put(lane, Outgoing::Message(body.clone())));
            }
            Effect::Ask { lane, id, timeout, body } => {
                home.ledger().asks.insert(id);
                self.put(lane, Outgoing::Ask { id, timeout, body, reply: reply(home, id) });
            }
            Effect::Cancel(id) => {
                self.flush(lanes);
                if home.ledger().asks.remove(&id) {
                    home.network().cancel(id);
                }
            }
            Effect::Respond { token, outcome } => {
                // What was staged before the answer may be for the same peer, and is to arrive before it.
                self.flush_lanes(lanes);
                home.ledger().requests.remove(&token);
                self.answers.push((token, outcome));
            }
            Effect::Register { spec, .. } => self.register(spec),
            Effect::Unregister { id, .. } => {
                self.flush(lanes);
                if self.registered.remove(&id).is_some() {
                    home.network().unregister(&id);
                }
            }
            Effect::Pause { protocol, paused } => home.mailbox.pause(&protocol, paused),
            Effect::Report(report) => self.report(*report),
            Effect::Write(_) | Effect::Nothing => {}
            Effect::TimerSet { id, after, .. } => home.ledger().timers.set(id, after, Instant::now()),
            Effect::TimerCancel { id, .. } => home.ledger().timers.cancel(id),
            Effect::Call { id, plugin, name, timeout, body } => {
                home.ledger().calls.insert(id, Some(Instant::now() + timeout));
                let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                let (caller, limits) = (Caller::Plugin(home.name.clone()), Some(PairLimits::of(&home.policy())));
                let what = Submission { plugin, caller, limits, name, timeout_ms, body };
                let waiter = Waiter::Plugin { mailbox: home.mailbox.clone(), call: id };
                home.services.desk.submit(id, what, waiter);
            }
            Effect::Answer { command, outcome } => {
                home.ledger().commands.remove(&command);
                let outcome = outcome.map_err(CallError::Failed);
                home.services.desk.answer(command, outcome, Some(self.ticket.clone()));
            }
        }
    }

    fn report(&self, report: Report) {
        let (home, Report { peer, key, protocol, verdict, why }) = (self.home, report);
        let plugin = home.name.as_str();
        tracing::debug!(target: "weir::plugin", plugin, peer = %peer.short(), key, ?verdict, why, "verdict on a peer");
        add(&home.counts.reports, 1);
        if let Some(protocol) = protocol.filter(|_| matches!(verdict, Verdict::Abusive)) {
            home.called_abusive(&(peer, protocol));
        }
    }

    fn register(&mut self, spec: ProtocolSpec) {
        // A protocol that an earlier instance registered stays as it is, streams and all.
        if self.registered.contains_key(&spec.id) {
            return;
        }
        let handler: Arc<dyn Handler> = self.home.mailbox.clone();
        match self.home.network().register(spec.clone(), &self.home.name, handler) {
            Ok(()) => drop(self.registered.insert(spec.id.clone(), spec)),
            Err(error) => {
                let plugin = self.home.name.as_str();
                tracing::warn!(target: "weir::plugin", plugin, %error, "a protocol was not registered after all");
                self.failed.push(spec.id);
            }
        }
    }
}

/// Puts the outcome of an ask into the mailbox. One that nobody waits for any more is passed over there.
fn reply(home: &Arc<Home>, id: AskId) -> crate::protocol::AskReply {
    let mailbox = home.mailbox.clone();
    Box::new(move |outcome| mailbox.response(id, outcome.as_deref().map_err(Clone::clone)))
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
