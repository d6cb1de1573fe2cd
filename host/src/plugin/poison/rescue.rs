//! Runs a failed batch again, one run a step, as `state` says.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::state::{Event, Next, Replay, Run, Why};
use crate::plugin::actor::Actor;
use crate::plugin::crash::{CallFailure, CrashKind};
use crate::plugin::events;
use crate::plugin::home::add;
use crate::plugin::lifecycle::RevisionEvent;
use crate::plugin::mailbox::{Batch, Item};
use crate::plugin::supervision::CrashCause;

/// A batch that is handled in parts.
pub(in crate::plugin) struct Rescue {
    batch: Batch,
    replay: Replay,
    run: Run,
    /// The positions that the run had: of the range of `run` those that concern the instance.
    ran: Vec<usize>,
    /// Positions that never run: of a peer that was muted meanwhile, or of what the instance does not have.
    settled: BTreeSet<usize>,
    /// The failure of the last run that failed, and the position that its panic named.
    failure: Option<CallFailure>,
    named: Option<usize>,
    /// It failed before; else it is only too large for one turn.
    again: bool,
}

impl Rescue {
    /// A batch that goes well so far and is too large for one turn.
    pub(in crate::plugin) fn paced(batch: Batch, most: usize) -> Self {
        Self::new(batch, most, false)
    }

    fn new(batch: Batch, most: usize, again: bool) -> Self {
        let mut replay = Replay::new(batch.items.len(), most);
        let run = match replay.begin() {
            Next::Run(run) => run,
            Next::Culprit(_) | Next::Done => Run { events: 0..0, fresh: false },
        };
        let ran = run.events.clone().collect();
        Self { batch, replay, run, ran, settled: BTreeSet::new(), failure: None, named: None, again }
    }

    /// What is left of the batch.
    pub(in crate::plugin) fn left(&self) -> Batch {
        self.batch.part(self.replay.left(), |at| !self.settled.contains(&at))
    }
}

impl Actor {
    /// Takes over a batch whose turn failed.
    pub(in crate::plugin) async fn rescue(&mut self, batch: Batch, failure: CallFailure) {
        self.abandon(&batch);
        let rescue = Rescue::new(batch, usize::MAX, true);
        self.ended(rescue, Err(failure)).await;
    }

    /// One run of the batch that is being rescued.
    pub(in crate::plugin) async fn rescue_step(&mut self, mut rescue: Rescue) {
        if rescue.run.fresh && !self.fresh {
            // What the instance had open would not survive the culprit either.
            self.instance = None;
            self.step(RevisionEvent::Crashed);
            self.abandon(&rescue.left());
            self.rescue = Some(rescue);
            return;
        }
        let part = self.part(&mut rescue);
        if part.items.is_empty() {
            return self.ended(rescue, Ok(())).await;
        }
        if rescue.again {
            add(&self.home.counts.replays, 1);
        }
        let (_, outcome) = self.turn(part, rescue.again).await;
        self.ended(rescue, outcome).await;
    }

    /// The events of the next run that concern the instance that lives now. The others are settled here.
    fn part(&mut self, rescue: &mut Rescue) -> Batch {
        let Some(instance) = &self.instance else { return Batch::default() };
        let (batch, range) = (&rescue.batch, rescue.run.events.clone());
        let (mut muted, mut foreign, mut ran) = (Vec::new(), Vec::new(), Vec::new());
        {
            let ledger = self.home.ledger();
            let lanes = events::keys(&batch.lanes, instance.state());
            for at in range.clone().filter(|at| !rescue.settled.contains(at)) {
                let Some(item) = batch.items.get(at) else { continue };
                if self.is_of_muted(batch, item) {
                    muted.push(at);
                } else if events::concerns(item, &lanes, &ledger, instance.state()) {
                    ran.push(at);
                } else {
                    foreign.push(at);
                }
            }
        }
        let part = batch.part(range, |at| ran.binary_search(&at).is_ok());
        muted.iter().filter_map(|at| batch.items.get(*at)).for_each(|item| self.turn_away(batch, item));
        foreign.iter().filter_map(|at| batch.items.get(*at)).for_each(|item| self.pass_by(item));
        rescue.settled.extend(muted.into_iter().chain(foreign));
        rescue.ran = ran;
        part
    }

    fn is_of_muted(&self, batch: &Batch, item: &Item) -> bool {
        let (Item::Message { lane, .. } | Item::Request { lane, .. }) = item else { return false };
        let lane = batch.lanes.get(*lane as usize);
        lane.is_some_and(|(peer, protocol)| self.home.mailbox.is_muted(*peer, protocol).is_some())
    }

    /// A run came to its end.
    async fn ended(&mut self, mut rescue: Rescue, outcome: Result<(), CallFailure>) {
        let event = match outcome {
            Ok(()) => Event::Went,
            Err(failure) => {
                rescue.named = named(&failure).and_then(|at| rescue.ran.get(at).copied());
                let why = why(&failure, rescue.named.map(|at| at - rescue.run.events.start));
                rescue.failure = Some(failure);
                rescue.again = true;
                Event::Failed(why)
            }
        };
        let mut next = rescue.replay.handle(event);
        if let Event::Failed(why) = event {
            self.abandon(&rescue.left());
            if why == Why::Store {
                self.store_failed(&rescue).await;
            }
            if self.is_quarantined() {
                return self.give_up(&rescue);
            }
        }
        loop {
            match next {
                Next::Done => return self.rescued(rescue).await,
                Next::Run(run) => {
                    rescue.run = run;
                    self.rescue = Some(rescue);
                    return;
                }
                Next::Culprit(at) => {
                    let event = self.culprit(&mut rescue, at).await;
                    next = rescue.replay.handle(event);
                    if self.is_quarantined() {
                        return self.give_up(&rescue);
                    }
                }
            }
        }
    }

    /// The store refused a turn: nobody's fault, and nothing to be tried again at once.
    async fn store_failed(&mut self, rescue: &Rescue) {
        if let Some(failure) = rescue.failure.clone() {
            let report = self.report("commit", None, None, failure);
            self.crashed(&report, CrashCause::Commit, None).await;
        }
    }

    /// An event failed alone on a fresh instance. It may be the one with which the plugin ends.
    async fn culprit(&mut self, rescue: &mut Rescue, at: usize) -> Event {
        let (Some(item), Some(failure)) = (rescue.batch.items.get(at).cloned(), rescue.failure.clone()) else {
            return Event::Buried;
        };
        let (peer, kind) = (rescue.batch.peer(&item), failure.kind);
        let report = self.report(item.kind(), Some(at), peer, failure);
        let event = if self.bury(&rescue.batch, &item, &report).await { Event::Buried } else { Event::Kept };
        self.blame(&rescue.batch, &item, &report).await;
        // A peer that was muted for it has paid: it does not count against the plugin.
        if !self.is_of_muted(&rescue.batch, &item) {
            let by = rescue.batch.sender(&item);
            self.crashed(&report, kind.into(), by).await;
        }
        event
    }

    /// Every event of a batch is settled.
    async fn rescued(&mut self, mut rescue: Rescue) {
        if !rescue.again {
            // As large as a turn may be now, or it would not have been divided.
            self.pace.went(self.pace.events());
        }
        if !rescue.replay.only_together() {
            return;
        }
        // Nothing is lost, and the operator hears of it all the same. It counts like any crash, or a plugin that fails
        // again and again and goes well in between would keep the node busy for nothing; except for want of memory,
        // which smaller turns mend.
        let events = rescue.batch.items.len().min(rescue.replay.most().saturating_mul(2));
        self.pace.failed_together(events);
        let Some(failure) = rescue.failure.take() else { return };
        let (kind, short) = (failure.kind, failure.refused_memory.is_some());
        let item = rescue.named.and_then(|at| rescue.batch.items.get(at));
        let (event, peer) = item.map_or(("batch", None), |item| (item.kind(), rescue.batch.peer(item)));
        let report = self.report(event, rescue.named, peer, failure);
        if !short && kind != CrashKind::Commit {
            self.crashed(&report, kind.into(), None).await;
        }
    }

    /// Gives up what is left of a batch that is being rescued: the plugin is ending.
    pub(in crate::plugin) fn give_up_rescue(&mut self) {
        if let Some(rescue) = self.rescue.take() {
            self.give_up(&rescue);
        }
    }

    /// Whoever asked or called is told by whoever ends the plugin: the ledger has them. Timers outlive it.
    fn give_up(&self, rescue: &Rescue) {
        let mut lost = 0;
        let mut ledger = self.home.ledger();
        for item in &rescue.left().items {
            match item {
                Item::Message { .. } | Item::Request { .. } => lost += 1,
                Item::Timer(id) => ledger.timers.set(*id, Duration::ZERO, Instant::now()),
                _ => {}
            }
        }
        drop(ledger);
        add(&self.home.counts.given_up, lost);
    }

    /// Whether there is anything that must run before new events.
    pub(in crate::plugin) fn is_rescuing(&self) -> bool {
        self.rescue.is_some()
    }

    /// Notes what a turn that went well says about peers.
    pub(in crate::plugin) fn note_success(&self, batch: &Batch) {
        if batch.lanes.is_empty() {
            return;
        }
        let (now, mut last) = (Instant::now(), None);
        let mut muting = self.home.muting();
        for item in &batch.items {
            let (Item::Message { lane, .. } | Item::Request { lane, .. }) = item else { continue };
            // They come in runs of one lane.
            if last.replace(*lane) != Some(*lane)
                && let Some((peer, _)) = batch.lanes.get(*lane as usize)
            {
                muting.succeeded(*peer, now);
            }
        }
    }
}

/// The event that the panic hook named, counted among those that ran.
fn named(failure: &CallFailure) -> Option<usize> {
    failure.panic.as_ref().and_then(|panic| panic.event).map(|event| event as usize)
}

/// What a failure means to the replay; `named` counts from the beginning of the run's range.
fn why(failure: &CallFailure, named: Option<usize>) -> Why {
    match failure.kind {
        CrashKind::Commit => Why::Store,
        _ if failure.refused_memory.is_some() => Why::Memory,
        _ => Why::Guest { named },
    }
}
