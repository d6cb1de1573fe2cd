//! The mailbox of one plugin: the pure queue behind a lock, with room that senders wait for.

mod batch;
mod news;
mod queue;
mod state;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

pub use self::batch::Caller;
pub(super) use self::batch::{Batch, CommandHead, Item, Place};
use self::state::{Admission, Stay, Waiting};
pub(super) use self::state::{Bounds, MailboxState};
use super::{CallError, PluginPolicy};
use crate::peer::PeerId;
use crate::protocol::{AskError, AskId, Delivered, Handler, InBatch, News, NotTaken, ProtocolId, RequestToken};

/// Takes what arrives for a plugin; its actor takes it out in batches.
///
/// It outlives instances and revisions, so an upgrade changes nothing for senders.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<MailboxState>,
    /// Room, in the units of [`Bounds`]. Whoever waits for it is served in order.
    room: Semaphore,
    /// Room that was taken away while it was in use: it is not given back.
    debt: AtomicUsize,
    /// What a batch costs is another number from now on.
    resized: Notify,
    /// Something is there for the actor.
    filled: Notify,
    paused: watch::Sender<HashMap<ProtocolId, Instant>>,
    pause: Duration,
    /// Of whom nothing is taken, and until when.
    muted: Mutex<HashMap<(PeerId, ProtocolId), Instant>>,
    /// Messages and requests of muted peers that were turned away.
    turned_away: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(policy: &PluginPolicy) -> Self {
        let bounds = bounds(policy);
        Self {
            state: Mutex::new(MailboxState::new(bounds)),
            room: Semaphore::new(bounds.room as usize),
            debt: AtomicUsize::new(0),
            resized: Notify::new(),
            filled: Notify::new(),
            paused: watch::Sender::new(HashMap::new()),
            pause: policy.pause,
            muted: Mutex::default(),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Bounds for whatever comes from now on. What waits stays, and a smaller mailbox is full until enough of it is gone.
    pub(super) fn set_bounds(&self, policy: &PluginPolicy) {
        let (before, now) = self.state().set_bounds(bounds(policy));
        let less = before.saturating_sub(now) as usize;
        let forgotten = self.room.forget_permits(less);
        self.debt.fetch_add(less - forgotten, Ordering::Relaxed);
        self.give_back(now.saturating_sub(before));
        self.resized.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, room: u32) {
        let mut room = room as usize;
        if self.debt.load(Ordering::Relaxed) > 0 {
            // The closure always returns a value, so the number before is returned, too.
            let debt =
                self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| Some(debt.saturating_sub(room)));
            room = room.saturating_sub(debt.unwrap_or(0));
        }
        if room > 0 {
            self.room.add_permits(room);
        }
    }

    /// Takes what one turn handles.
    pub(super) fn take(&self) -> Batch {
        let (batch, freed) = self.state().take();
        self.give_back(freed);
        batch
    }

    /// Waits until there is something to take. Cancel safe.
    pub(super) async fn filled(&self) {
        loop {
            let filled = self.filled.notified();
            if !self.state().is_empty() {
                return;
            }
            filled.await;
        }
    }

    /// How many turns take all that is here now, about.
    pub(super) fn turns(&self) -> usize {
        self.state().turns()
    }

    /// What waits now.
    pub(super) fn waiting(&self) -> Waiting {
        self.state().waiting()
    }

    /// Messages and requests that left without being handled.
    pub(super) fn purged(&self) -> u64 {
        self.state().purged()
    }

    pub(super) fn response(&self, ask: AskId, outcome: Result<&[u8], AskError>) {
        self.state().response(ask, outcome);
        self.filled.notify_one();
    }

    pub(super) fn called(&self, call: u64, outcome: Result<&[u8], CallError>) {
        self.state().called(call, outcome);
        self.filled.notify_one();
    }

    /// False when too many commands wait.
    pub(super) fn command(&self, head: CommandHead, body: &[u8]) -> bool {
        let taken = self.state().command(head, body);
        self.filled.notify_one();
        taken
    }

    pub(super) fn command_withdrawn(&self, id: u64) {
        self.state().command_withdrawn(id);
        self.filled.notify_one();
    }

    /// Stops or lifts delivery of one protocol's messages.
    pub(super) fn pause(&self, protocol: &ProtocolId, paused: bool) {
        let until = Instant::now() + self.pause;
        self.paused.send_modify(|all| {
            if paused {
                all.insert(protocol.clone(), until);
            } else {
                all.remove(protocol);
            }
        });
    }

    /// Takes nothing of a peer by a protocol until then, and forgets what waits of it: the requests among that.
    pub(super) fn mute(&self, name: &(PeerId, ProtocolId), until: Instant) -> Vec<RequestToken> {
        self.muted().insert(name.clone(), until);
        let requests = self.state().mute(name);
        self.filled.notify_one();
        requests
    }

    /// Hears a peer again before its time.
    pub(super) fn unmute(&self, name: &(PeerId, ProtocolId)) {
        self.muted().remove(name);
    }

    /// How long the peer is muted for the protocol from now on, if it is.
    pub(super) fn is_muted(&self, peer: PeerId, protocol: &ProtocolId) -> Option<Duration> {
        let mut muted = self.muted();
        if muted.is_empty() {
            return None;
        }
        let name = (peer, protocol.clone());
        let left = muted.get(&name)?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            muted.remove(&name);
            return None;
        }
        Some(left)
    }

    fn muted(&self) -> MutexGuard<'_, HashMap<(PeerId, ProtocolId), Instant>> {
        self.muted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages and requests of muted peers that were turned away.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn turn_away(&self, batch: &InBatch) -> Option<NotTaken> {
        let left = self.is_muted(batch.peer, &batch.protocol)?;
        self.turned_away.fetch_add(batch.items.len() as u64, Ordering::Relaxed);
        Some(NotTaken::Muted(left))
    }

    /// Lifts every pause: the one who asked for them is gone.
    pub(super) fn resume_all(&self) {
        self.paused.send_modify(HashMap::clear);
    }

    /// Takes nothing more; returns the requests and commands that were waiting.
    pub(super) fn close(&self) -> (Vec<RequestToken>, Vec<u64>) {
        let (requests, commands, freed) = self.state().close();
        self.give_back(freed);
        self.resume_all();
        (requests, commands)
    }

    pub(super) fn reopen(&self) {
        self.state().reopen();
    }

    /// Waits while the protocol is paused.
    async fn unpaused(&self, protocol: &ProtocolId) {
        if self.paused.borrow().is_empty() {
            return;
        }
        let mut changes = self.paused.subscribe();
        loop {
            let until = changes.borrow_and_update().get(protocol).copied();
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            // Either end of the wait is looked at again by the loop.
            let _ = tokio::time::timeout_at(until, changes.changed()).await;
        }
    }

    /// Takes the batch if nothing stands in its way.
    fn attempt(&self, batch: &InBatch) -> Attempt {
        let mut state = self.state();
        let stay = match state.admit(batch.peer, &batch.protocol) {
            Admission::Welcome(stay) => stay,
            // Whatever is not taken must not count as handed over.
            Admission::Absent | Admission::Closed => return Attempt::Gone,
        };
        let cost = state.cost(batch);
        let Ok(permit) = self.room.try_acquire_many(cost) else { return Attempt::Full(stay, cost) };
        permit.forget();
        state.push(stay, batch, cost);
        drop(state);
        self.filled.notify_one();
        Attempt::Taken
    }

    async fn take_in(&self, batch: InBatch) -> Result<(), NotTaken> {
        self.unpaused(&batch.protocol).await;
        if let Some(muted) = self.turn_away(&batch) {
            return Err(muted);
        }
        loop {
            let mut resized = pin!(self.resized.notified());
            // From here on, so that no change after the attempt is missed.
            resized.as_mut().enable();
            let (stay, cost) = match self.attempt(&batch) {
                Attempt::Taken => return Ok(()),
                Attempt::Full(stay, cost) => (stay, cost),
                Attempt::Gone => return Err(NotTaken::Gone),
            };
            // Nothing is taken before the permit is there, and nothing waits after it: dropping this future is safe.
            let permit = tokio::select! {
                biased;
                permit = self.room.acquire_many(cost) => permit.map_err(|_| NotTaken::Gone)?,
                () = resized => continue,
            };
            // It may have been muted while it waited.
            if let Some(muted) = self.turn_away(&batch) {
                return Err(muted);
            }
            let mut state = self.state();
            if state.cost(&batch) != cost {
                continue;
            }
            if !state.push(stay, &batch, cost) {
                return Err(NotTaken::Gone);
            }
            drop(state);
            permit.forget();
            self.filled.notify_one();
            return Ok(());
        }
    }
}

/// How much the mailbox of a plugin with these budgets holds.
fn bounds(policy: &PluginPolicy) -> Bounds {
    let room = u32::try_from(policy.mailbox_bytes).unwrap_or(u32::MAX).clamp(1, 1 << 28);
    let events = u32::try_from(policy.mailbox_events).unwrap_or(u32::MAX).max(1);
    Bounds {
        room,
        unit: (room / events).max(1),
        batch_events: policy.batch_events.max(1),
        batch_bytes: policy.batch_limit(),
        commands: policy.mailbox_commands,
    }
}

/// What became of a batch that wants in.
enum Attempt {
    Taken,
    /// There is no room for this stay and cost.
    Full(Stay, u32),
    /// Its peer is not there, or the mailbox is closed.
    Gone,
}

impl Handler for Mailbox {
    fn try_deliver(&self, batch: InBatch) -> Result<(), InBatch> {
        if !self.paused.borrow().is_empty() || self.is_muted(batch.peer, &batch.protocol).is_some() {
            return Err(batch);
        }
        match self.attempt(&batch) {
            Attempt::Taken => Ok(()),
            Attempt::Full(..) | Attempt::Gone => Err(batch),
        }
    }

    fn deliver(&self, batch: InBatch) -> Delivered<'_> {
        Box::pin(self.take_in(batch))
    }

    fn news(&self, news: News) {
        self.state().news(news);
        self.filled.notify_one();
    }

    fn taken_over(&self, protocol: &ProtocolId) {
        self.state().taken_over(protocol);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerId;
    use crate::protocol::Inbound;

    fn policy(mailbox_bytes: usize) -> PluginPolicy {
        PluginPolicy { mailbox_bytes, mailbox_events: mailbox_bytes, ..PluginPolicy::default() }
    }

    fn batch(bytes: usize) -> InBatch {
        let items = vec![Inbound::Message(bytes::Bytes::from(vec![0; bytes]))];
        InBatch { peer: PeerId::from_bytes([1; 32]), protocol: "/a/1".parse().expect("an id"), items }
    }

    fn mailbox(bytes: usize) -> Mailbox {
        let mailbox = Mailbox::new(&policy(bytes));
        let InBatch { peer, protocol, .. } = batch(0);
        mailbox.news(News::Supported { peer, protocol, max_message: 1_000 });
        mailbox
    }

    #[tokio::test]
    async fn a_smaller_mailbox_is_full_until_enough_of_it_is_gone() {
        let mailbox = mailbox(100);
        assert!(mailbox.try_deliver(batch(90)).is_ok());
        mailbox.set_bounds(&policy(40));
        assert!(mailbox.try_deliver(batch(1)).is_err());
        assert_eq!(mailbox.waiting(), Waiting { events: 2, bytes: 90, commands: 0 });
        while !mailbox.take().items.is_empty() {}
        assert!(mailbox.try_deliver(batch(40)).is_ok());
        assert!(mailbox.try_deliver(batch(1)).is_err());
        mailbox.set_bounds(&policy(50));
        assert!(mailbox.try_deliver(batch(10)).is_ok());
        assert!(mailbox.try_deliver(batch(1)).is_err());
    }

    #[tokio::test]
    async fn who_waits_for_more_than_there_will_ever_be_again_is_let_in_all_the_same() {
        let mailbox = mailbox(100);
        assert!(mailbox.try_deliver(batch(50)).is_ok());
        let mut waiting = pin!(mailbox.deliver(batch(80)));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        mailbox.set_bounds(&policy(40));
        while !mailbox.take().items.is_empty() {}
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.expect("in time").expect("taken");
    }
}
