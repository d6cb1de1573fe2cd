//! The actor of one plugin: it alone calls its instance, one turn after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::PluginError;
use super::commit::{Registered, commit};
use super::crash::{CallFailure, CrashKind};
use super::engine::WasmEngine;
use super::events;
use super::home::{Home, add};
use super::info::PluginInfo;
use super::instance::{About, Instance, TurnInput};
use super::lifecycle::{Plan, Probation, RevisionEvent};
use super::mailbox::{Batch, Item};
use super::poison::{Pace, Rescue, Retry};
use super::revision::Revision;
use super::supervision::{CrashCause, Supervision};
use super::upgrade::Swap;
use crate::peer::PeerId;
use crate::protocol::{News, ProtocolId};
use crate::wire::Failure;

/// What the handle asks of the actor between two turns.
pub(super) enum Control {
    Upgrade {
        revision: Arc<Revision>,
        instance: Box<Instance>,
        plan: Plan,
        reply: oneshot::Sender<Result<Swap, PluginError>>,
    },
    Stop {
        deadline: Instant,
        reply: oneshot::Sender<()>,
    },
    /// A dead letter once more.
    Retry(Retry),
    /// The end of a quarantine.
    Lift(oneshot::Sender<Result<PluginInfo, PluginError>>),
}

/// See the module.
pub(super) struct Actor {
    pub(super) engine: Arc<WasmEngine>,
    pub(super) home: Arc<Home>,
    pub(super) revision: Arc<Revision>,
    /// None between a crash and the next start, and while quarantined.
    pub(super) instance: Option<Instance>,
    pub(super) registered: Registered,
    /// Who is there, as the plugin was told in committed turns.
    pub(super) told: BTreeMap<(PeerId, ProtocolId), u32>,
    /// What a fresh instance has not been told yet. It comes before anything else.
    pub(super) retell: VecDeque<News>,
    /// Set while the revision is watched after an upgrade.
    pub(super) probation: Option<Probation<Instant>>,
    /// The revision that failed and that this one takes the place of again, until it has heard of it.
    pub(super) comeback: Option<super::abi::Predecessor>,
    pub(super) supervision: Supervision<Instant>,
    /// A batch that is handled in parts. It comes before new events.
    pub(super) rescue: Option<Rescue>,
    pub(super) pace: Pace,
    /// The instance has handled nothing but who is there.
    pub(super) fresh: bool,
    /// The date of the last turn.
    pub(super) now: u64,
    /// Turns in a row for timers that were due at once.
    at_once: u32,
}

/// Turns in a row for timers that are due at once; then the next waits for the clock, so that time goes on even for a
/// plugin that sets timers of 0 ms for ever.
const AT_ONCE: u32 = 64;

enum Next {
    Control(Option<Control>),
    Work,
}

impl Actor {
    pub(super) fn new(engine: Arc<WasmEngine>, home: Arc<Home>, revision: Arc<Revision>) -> Self {
        let supervision = Supervision::new(home.policy().supervision);
        let pace = Pace::new(home.policy().batch_events);
        let (registered, told, retell) = (Registered::new(), BTreeMap::new(), VecDeque::new());
        Self {
            engine,
            home,
            revision,
            instance: None,
            registered,
            told,
            retell,
            probation: None,
            comeback: None,
            supervision,
            rescue: None,
            pace,
            fresh: true,
            now: 0,
            at_once: 0,
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self, mut control: mpsc::Receiver<Control>) {
        loop {
            self.home.keep_mutes().await;
            match self.next(&mut control).await {
                Next::Work => self.work().await,
                Next::Control(Some(Control::Upgrade { revision, instance, plan, reply })) => {
                    // Nobody waits for the report when the caller gave up; the upgrade holds all the same.
                    let _ = reply.send(self.upgrade(revision, *instance, plan).await);
                }
                Next::Control(Some(Control::Stop { deadline, reply })) => {
                    self.stop(deadline).await;
                    self.home.keep_mutes().await;
                    let _ = reply.send(());
                    return;
                }
                Next::Control(Some(Control::Retry(retry))) => self.retry(retry).await,
                Next::Control(Some(Control::Lift(reply))) => self.lift(reply).await,
                Next::Control(None) => return self.stop(Instant::now()).await,
            }
        }
    }

    async fn next(&mut self, control: &mut mpsc::Receiver<Control>) -> Next {
        if self.instance.is_none() {
            let wake = self.supervision.wake().unwrap_or_else(Instant::now);
            return tokio::select! {
                biased;
                asked = control.recv() => Next::Control(asked),
                () = tokio::time::sleep_until(wake) => Next::Work,
            };
        }
        if !self.retell.is_empty() {
            return Next::Work;
        }
        if self.is_rescuing() {
            return tokio::select! {
                biased;
                asked = control.recv() => Next::Control(asked),
                () = std::future::ready(()) => Next::Work,
            };
        }
        let due = self.home.ledger().next_due();
        // The timer of the runtime takes a millisecond at least.
        if self.at_once < AT_ONCE && due.is_some_and(|due| due <= Instant::now()) {
            self.at_once += 1;
            // Others on this thread have theirs between two turns.
            tokio::task::yield_now().await;
            return match control.try_recv() {
                Ok(asked) => Next::Control(Some(asked)),
                Err(_) => Next::Work,
            };
        }
        self.at_once = 0;
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            asked = control.recv() => Next::Control(asked),
            () = self.home.mailbox.filled() => Next::Work,
            () = timer => Next::Work,
        }
    }

    /// One step: a start, a turn, or a part of a batch that failed.
    pub(super) async fn work(&mut self) {
        if self.instance.is_none() {
            return self.revive().await;
        }
        if !self.retell.is_empty() {
            if let Err(failure) = self.tell_all().await {
                let report = self.report("peer-supported", None, None, failure);
                self.abandon(&self.left_to_rescue());
                self.crashed(&report, CrashCause::Start, None).await;
            }
            return;
        }
        if let Some(rescue) = self.rescue.take() {
            return self.rescue_step(rescue).await;
        }
        self.tick();
        let batch = self.gather();
        let events = batch.items.len();
        if events == 0 {
            return;
        }
        if events > self.pace.events() {
            self.rescue = Some(Rescue::paced(batch, self.pace.events()));
            return;
        }
        let (batch, outcome) = self.turn(batch, false).await;
        match outcome {
            Ok(()) => self.pace.went(events),
            Err(failure) => self.rescue(batch, failure).await,
        }
    }

    /// The date of the next turn: never less than in the turn before.
    pub(super) fn tick(&mut self) {
        self.now = self.now.max(self.home.services.runtime.clock.unix_ms());
    }

    /// Takes what the next turn handles.
    fn gather(&mut self) -> Batch {
        let now = Instant::now();
        let overdue = self.home.ledger().take_overdue_calls(now);
        for call in overdue {
            // The waiter is this plugin itself, so the outcome is put into its own mailbox here, unless one is there.
            if self.home.services.desk.withdraw(call) {
                self.home.mailbox.called(call, Err(super::CallError::TimedOut));
            }
        }
        let mut batch = self.home.mailbox.take();
        let room = self.home.policy().batch_events.saturating_sub(batch.items.len()).max(1);
        let due = self.home.ledger().timers.take_due(now, room);
        batch.items.extend(due.into_iter().map(Item::Timer));
        self.pass_over(&mut batch);
        batch
    }

    /// Takes out what does not concern the instance, and notes what it will owe.
    fn pass_over(&mut self, batch: &mut Batch) {
        let Some(instance) = &self.instance else { return };
        let mut ledger = self.home.ledger();
        // An overdue call may have its answer in the mailbox beside the timeout: the first of them counts.
        let (mut seen, mut late) = (BTreeSet::new(), BTreeSet::new());
        let known = events::keys(&batch.lanes, instance.state());
        let foreign: Vec<_> = batch
            .items
            .extract_if(.., |item| {
                let twice = matches!(item, Item::Called { call, .. } if !seen.insert(*call));
                if twice || !events::concerns(item, &known, &ledger, instance.state()) {
                    return true;
                }
                match item {
                    // It timed out on its way into the mailbox, so its withdrawal came before it and nobody would end it.
                    Item::Request { token, .. } if !self.home.network().awaits(*token) => return late.insert(*token),
                    Item::Request { token, .. } => drop(ledger.requests.insert(*token)),
                    Item::Command(head, _) => drop(ledger.commands.insert(head.id)),
                    _ => {}
                }
                false
            })
            .collect();
        drop(ledger);
        let is_late = |item: &&Item| matches!(item, Item::Request { token, .. } if late.contains(token));
        foreign.iter().filter(|item| !is_late(item)).for_each(|item| self.pass_by(item));
    }

    /// Settles what the instance does not hear of.
    pub(super) fn pass_by(&mut self, item: &Item) {
        match item {
            Item::Request { token, .. } => {
                self.home.ledger().requests.remove(token);
                let message = "the protocol is no longer served".to_owned();
                self.home.network().respond(*token, Err(Failure { code: "unsupported".to_owned(), message }));
            }
            Item::News(news) => forget_gone(&mut self.told, news),
            _ => {}
        }
    }

    /// One turn and its commit. On a failure the instance is gone and nothing has left.
    pub(super) async fn turn(&mut self, mut batch: Batch, replay: bool) -> (Batch, Result<(), CallFailure>) {
        let Some(mut instance) = self.instance.take() else { return (batch, Ok(())) };
        if batch.items.iter().any(Item::tells_of_others) {
            instance.state_mut().settled = false;
        }
        let input = TurnInput {
            events: events::write(&batch, instance.state()),
            bodies: std::mem::take(&mut batch.bodies),
            now: self.now,
            replay,
            about: About::batch(&batch),
            part: replay && batch.items.len() > 1,
        };
        let ((instance, outcome), _, bodies) = instance.handle(input).await;
        batch.bodies = bodies;
        let mut instance = match (instance, outcome) {
            (Some(instance), Ok(())) => instance,
            (_, outcome) => {
                self.step(RevisionEvent::Crashed);
                return (batch, outcome);
            }
        };
        let outcome = commit(instance.state_mut(), &mut self.registered).await;
        let outcome = outcome.map_err(|error| commit_failed(&error.to_string()));
        if outcome.is_ok() {
            self.instance = Some(instance);
            self.fresh = false;
            self.settle(&batch);
        } else {
            self.step(RevisionEvent::Crashed);
            add(&self.home.counts.crashes, 1);
        }
        (batch, outcome)
    }

    /// Notes what a committed turn heard.
    fn settle(&mut self, batch: &Batch) {
        let mut messages = 0;
        let mut ledger = self.home.ledger();
        for item in &batch.items {
            match item {
                Item::Message { .. } => messages += 1,
                Item::Response { ask, .. } => drop(ledger.asks.remove(ask)),
                Item::Called { call, .. } => drop(ledger.calls.remove(call)),
                Item::CommandWithdrawn(id) => drop(ledger.commands.remove(id)),
                Item::News(news) => match &**news {
                    News::Supported { peer, protocol, max_message } => {
                        self.told.insert((*peer, protocol.clone()), *max_message);
                    }
                    News::Withdrawn(token) => drop(ledger.requests.remove(token)),
                    news => forget_gone(&mut self.told, news),
                },
                _ => {}
            }
        }
        drop(ledger);
        self.note_success(batch);
        add(&self.home.counts.messages, messages);
        add(&self.home.counts.events, batch.items.len() as u64);
    }

    /// Tells a fresh instance who is there, in as many turns as that takes.
    pub(super) async fn tell_all(&mut self) -> Result<(), CallFailure> {
        while !self.retell.is_empty() {
            let most = self.home.policy().batch_events.min(self.retell.len());
            let items = self.retell.drain(..most).map(|news| Item::News(Box::new(news))).collect();
            let mut batch = Batch { items, ..Batch::default() };
            self.pass_over(&mut batch);
            if !batch.items.is_empty() {
                self.turn(batch, false).await.1?;
            }
        }
        Ok(())
    }
}

/// A lane that is gone is told to no instance again, whether or not one heard its farewell: what unregistered a protocol
/// hears of it no more, and may register it again later.
fn forget_gone(told: &mut BTreeMap<(PeerId, ProtocolId), u32>, news: &News) {
    if let News::Unsupported { peer, protocol } = news {
        told.remove(&(*peer, protocol.clone()));
    }
}

fn commit_failed(reason: &str) -> CallFailure {
    CallFailure::new(CrashKind::Commit, format!("its writes were not committed: {reason}"))
}
