//! What the handles of a store and its thread share: the queue of turns, and what is on the disk.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::backend::{Backend, ClosedDisk, NamespaceRow, Snapshot};
use super::error::{BackendError, StoreError};
use super::group::{Bounds, Due, Group, Queue, Turn};
use super::registry::Registry;
use super::ticket::CommitTicket;
use super::{Durability, StorePolicy};

/// What waiting turns are told.
#[derive(Debug, Default)]
struct Progress {
    /// All groups up to this one are on the disk.
    durable: u64,
    /// The store takes nothing more.
    failure: Option<StoreError>,
    /// The file is let go of.
    closed: bool,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Nobody may commit any more; what is pending is written.
    stopping: bool,
    failure: Option<StoreError>,
}

/// Locks are taken in this order: `inline`, a namespace's overlay (of two, that of the lesser name first), `state`.
/// `snapshot`, `staging` and the list in `namespaces` are held for a moment only, with nothing taken inside.
pub(super) struct Shared {
    place: Arc<str>,
    patience: Duration,
    state: Mutex<State>,
    /// The thread waits here for turns.
    wake: Condvar,
    snapshot: RwLock<Arc<dyn Snapshot>>,
    pub(super) namespaces: Registry,
    /// The staging namespaces that are in use, by number.
    pub(super) staging: Mutex<BTreeSet<u32>>,
    progress: watch::Sender<Progress>,
    /// The medium, if there is no thread.
    inline: Option<Mutex<Box<dyn Backend>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Shared {
    /// Written by a thread.
    pub(super) fn threaded(
        snapshot: Arc<dyn Snapshot>,
        rows: Vec<NamespaceRow>,
        policy: StorePolicy,
        place: &str,
    ) -> Self {
        let bounds = Bounds {
            max_bytes: policy.max_pending_bytes,
            max_age: policy.max_pending_age,
            commit_after: policy.commit_after,
        };
        Self::new(snapshot, rows, bounds, policy.patience, place, None)
    }

    /// Written by whoever needs it written, on the caller's thread. Time plays no part.
    pub(super) fn inline(backend: Box<dyn Backend>, snapshot: Arc<dyn Snapshot>, rows: Vec<NamespaceRow>) -> Self {
        let policy = StorePolicy::default();
        let bounds =
            Bounds { max_bytes: policy.max_pending_bytes, max_age: Duration::MAX, commit_after: Duration::MAX };
        Self::new(snapshot, rows, bounds, policy.patience, "in memory", Some(Mutex::new(backend)))
    }

    fn new(
        snapshot: Arc<dyn Snapshot>,
        rows: Vec<NamespaceRow>,
        bounds: Bounds,
        patience: Duration,
        place: &str,
        inline: Option<Mutex<Box<dyn Backend>>>,
    ) -> Self {
        Self {
            place: place.into(),
            patience,
            state: Mutex::new(State { queue: Queue::new(bounds), stopping: false, failure: None }),
            wake: Condvar::new(),
            snapshot: RwLock::new(snapshot),
            namespaces: Registry::new(&rows),
            staging: Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            inline,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on the disk. Taken under the lock of a namespace, it has whatever is no longer in the overlay.
    pub(super) fn disk(&self) -> Arc<dyn Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_disk(&self, snapshot: Arc<dyn Snapshot>) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// What to tell somebody whose read failed.
    pub(super) fn unreadable(&self, source: BackendError) -> StoreError {
        match self.state().failure.clone() {
            Some(failure) => failure,
            None => StoreError::Read { place: self.place.clone(), source },
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { place: self.place.clone() }
    }

    /// Whether a turn may join now.
    fn has_room(&self) -> Result<bool, StoreError> {
        let state = self.state();
        self.admits(&state)?;
        Ok(state.queue.has_room(Instant::now()))
    }

    fn admits(&self, state: &State) -> Result<(), StoreError> {
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.stopping => Err(self.closed()),
            None => Ok(()),
        }
    }

    /// Adds turns to the open group, all at one moment, and returns its epoch; nothing when there is no room.
    pub(super) fn enqueue(&self, turns: &[Turn<'_>], durability: Durability) -> Result<Option<u64>, StoreError> {
        let mut state = self.state();
        self.admits(&state)?;
        let now = Instant::now();
        if !state.queue.has_room(now) {
            return Ok(None);
        }
        let before = state.queue.due(now);
        let epoch = state.queue.add(turns, now);
        if durability == Durability::Strict {
            state.queue.hurry();
        }
        // The thread sleeps as long as it knew it could; only an earlier end has to be told.
        let after = state.queue.due(now);
        if before == Due::Idle || (before != after && after == Due::Now) {
            self.wake.notify_one();
        }
        Ok(Some(epoch))
    }

    /// The ticket of a turn that was just committed.
    pub(super) fn ticket(self: &Arc<Self>, epoch: u64, durability: Durability) -> CommitTicket {
        if durability == Durability::Strict {
            // A failure is the ticket's to tell, as it is when a thread writes.
            let _ = self.write_inline();
        }
        CommitTicket::new(self.clone(), epoch)
    }

    /// The ticket of a turn that wrote nothing: a strict one waits for everything before it.
    pub(super) fn ticket_for_all(self: &Arc<Self>, durability: Durability) -> Result<CommitTicket, StoreError> {
        let epoch = {
            let mut state = self.state();
            self.admits(&state)?;
            match durability {
                Durability::Relaxed => 0,
                Durability::Strict => {
                    state.queue.hurry();
                    self.wake.notify_one();
                    state.queue.last()
                }
            }
        };
        Ok(self.ticket(epoch, durability))
    }

    /// Waits until a turn may join.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        if self.has_room()? {
            return Ok(());
        }
        self.write_inline()?;
        let mut progress = self.progress.subscribe();
        while !self.has_room()? {
            self.next(&mut progress).await?;
        }
        Ok(())
    }

    /// Writes everything and waits for it.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), StoreError> {
        self.ticket_for_all(Durability::Strict)?.durable().await
    }

    /// Waits for the next news of the disk, and gives the store up when there is none for too long.
    async fn next(&self, progress: &mut watch::Receiver<Progress>) -> Result<(), StoreError> {
        match tokio::time::timeout(self.patience, progress.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.closed()),
            Err(_) => {
                let stalled = StoreError::Stalled { place: self.place.clone(), waited: self.patience };
                Err(self.fail(stalled))
            }
        }
    }

    /// Ends the store for good, and returns why it ended: the first failure stays.
    fn fail(&self, failure: StoreError) -> StoreError {
        let failure = self.state().failure.get_or_insert(failure).clone();
        self.progress.send_modify(|progress| progress.failure = Some(failure.clone()));
        self.wake.notify_all();
        failure
    }

    /// Waits for the next group that is due; nothing when there will be none.
    pub(super) fn next_group(&self) -> Option<Group> {
        let mut state = self.state();
        loop {
            let due = state.queue.due(Instant::now());
            if state.failure.is_some() {
                return None;
            }
            state = match due {
                Due::Now => return state.queue.take(),
                _ if state.stopping => return state.queue.take(),
                Due::In(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                Due::Idle => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes a group and tells everybody.
    pub(super) fn write(&self, backend: &mut dyn Backend, group: &Group) -> Result<(), StoreError> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            backend.commit(group)?;
            backend.snapshot()
        }));
        match written.unwrap_or_else(|_| Err(BackendError::new("the database panicked"))) {
            Ok(snapshot) => {
                self.land(group, snapshot);
                Ok(())
            }
            Err(source) => Err(self.fail(StoreError::Failed { place: self.place.clone(), source })),
        }
    }

    /// A group is on the disk: strict turns go on first, then the overlay is emptied, then others have room.
    fn land(&self, group: &Group, snapshot: Arc<dyn Snapshot>) {
        self.replace_disk(snapshot);
        self.progress.send_modify(|progress| progress.durable = group.epoch);
        for (id, part) in &group.parts {
            // Contents may change hands while this looks for them.
            while let Some(namespace) = self.namespaces.holder(*id) {
                if namespace.landed(*id, part, group.epoch) {
                    break;
                }
            }
        }
        self.state().queue.landed();
        self.progress.send_modify(|_| ());
    }

    /// Writes what is pending, if there is no thread to do it.
    fn write_inline(&self) -> Result<(), StoreError> {
        let Some(inline) = &self.inline else { return Ok(()) };
        let mut backend = inline.lock().unwrap_or_else(PoisonError::into_inner);
        let group = self.state().queue.take();
        group.map_or(Ok(()), |group| self.write(&mut **backend, &group))
    }

    /// Takes no more turns; the thread writes what is pending and ends.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.wake.notify_all();
    }

    /// Waits, on the thread, until nobody needs the medium any more, and lets reads know.
    pub(super) fn wait_for_stop(&self) {
        let mut state = self.state();
        while !state.stopping {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.get_or_insert_with(|| self.closed());
        drop(state);
        self.replace_disk(Arc::new(ClosedDisk));
    }

    /// The medium is let go of.
    pub(super) fn let_go(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Writes what is pending, and waits until the medium is let go of.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.stop();
        if self.inline.is_some() {
            let written = self.write_inline();
            self.wait_for_stop();
            self.let_go();
            return written;
        }
        let mut progress = self.progress.subscribe();
        while !progress.borrow_and_update().closed {
            self.next(&mut progress).await?;
        }
        match self.progress.borrow().failure.clone() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Waits until all groups up to `epoch` are on the disk.
    pub(super) async fn durable(&self, epoch: u64) -> Result<(), StoreError> {
        let mut progress = self.progress.subscribe();
        while !self.is_durable(&progress.borrow_and_update(), epoch)? {
            self.next(&mut progress).await?;
        }
        Ok(())
    }

    fn is_durable(&self, progress: &Progress, epoch: u64) -> Result<bool, StoreError> {
        match &progress.failure {
            _ if progress.durable >= epoch => Ok(true),
            Some(failure) => Err(failure.clone()),
            None if progress.closed => Err(self.closed()),
            None => Ok(false),
        }
    }
}
