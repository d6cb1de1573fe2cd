//! The data streams that peers open: accepted, counted, put in order, read and reported.

mod assembly;
mod counts;
mod policy;
mod reader;
mod slot;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use counts::Counts;
pub use counts::RefusedBy;
pub use policy::ReceivePolicy;
pub(super) use state::{LaneOrder, Turn};

use self::assembly::Assembly;
use self::reader::{Reader, StopSignal};
use self::slot::Slot;
use super::{Inlet, LaneId};
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::peer::PeerId;
use crate::transport::{LinkAcceptor, ReceiveStream};
use crate::wire::{Control, StopCode, StreamHeader, StreamOutcome};

/// Open receive streams, for status output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Of the node.
    pub streams: usize,
    /// Of every peer that has one.
    pub peers: Vec<(PeerId, usize)>,
    /// Of every connection that has one.
    pub connections: Vec<(ConnectionId, usize)>,
    /// Taken in since the start.
    pub accepted: u64,
    /// Refused since the start, because a limit was reached.
    pub refused: u64,
    /// The same, by the limit.
    pub refused_by: RefusedBy,
    /// Bytes of frames that are not whole yet.
    pub incomplete: usize,
}

/// Takes in the data streams of all admitted connections; cheap to clone.
#[derive(Clone)]
pub struct ReceiveStreamManager(Arc<Shared>);

struct Shared {
    policy: ReceivePolicy,
    inlet: Arc<dyn Inlet>,
    tasks: TaskTracker,
    runtime: Handle,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    counts: Counts,
    connections: HashMap<ConnectionId, Connection>,
    lanes: BTreeMap<PeerId, BTreeMap<LaneId, Lane>>,
}

struct Connection {
    peer: PeerId,
    gone: CancellationToken,
    assembly: Arc<Assembly>,
    streams: HashMap<u64, StopSignal>,
    /// Streams of which something was read that its handler does not have yet.
    handing: Arc<AtomicUsize>,
    /// Highest stream id that was accepted; QUIC hands them out in order.
    accepted: Option<u64>,
    /// Given up by the peer before they were accepted.
    abandoned: BTreeSet<u64>,
}

/// The order of a lane, and how to reach the readers that it is about.
#[derive(Default)]
struct Lane {
    order: LaneOrder,
    readers: BTreeMap<u64, (StopSignal, Option<oneshot::Sender<()>>)>,
}

impl ReceiveStreamManager {
    /// Readers run on `runtime`, tracked by `tasks`; they end when their connection was removed.
    pub fn new(inlet: Arc<dyn Inlet>, policy: ReceivePolicy, tasks: TaskTracker, runtime: Handle) -> Self {
        Self(Arc::new(Shared { policy, inlet, tasks, runtime, inner: Mutex::default() }))
    }

    /// Takes in the streams of a connection that both sides admitted. `incarnation` is the one of the peer's
    /// hello.
    pub fn add(&self, connection: ConnectionHandle, acceptor: LinkAcceptor, incarnation: u64) {
        let gone = CancellationToken::new();
        let assembly = Arc::new(Assembly::new(self.0.policy.assembly));
        let entry = Connection {
            peer: connection.peer,
            gone: gone.clone(),
            assembly,
            streams: HashMap::new(),
            handing: Arc::default(),
            accepted: None,
            abandoned: BTreeSet::new(),
        };
        self.0.lock().connections.insert(connection.id, entry);
        let (shared, span) = (Arc::clone(&self.0), connection.span.clone());
        let task = accept(shared, connection, acceptor, incarnation, gone);
        self.0.tasks.spawn_on(task.instrument(span), &self.0.runtime);
    }

    /// The connection is gone: its readers end. With a peer's last connection the order of its lanes is forgotten.
    pub fn remove(&self, connection: ConnectionId) {
        let mut inner = self.0.lock();
        let Some(gone) = inner.connections.remove(&connection) else { return };
        gone.gone.cancel();
        if !inner.connections.values().any(|other| other.peer == gone.peer) {
            inner.lanes.remove(&gone.peer);
        }
    }

    /// For `Control::Abandon`: the peer gives up a stream of its own.
    pub fn abandon(&self, connection: ConnectionId, stream: u64) {
        let mut inner = self.0.lock();
        let Some(entry) = inner.connections.get_mut(&connection) else { return };
        if let Some(signal) = entry.streams.get(&stream) {
            signal.stop(StopCode::Abandoned);
        } else if entry.accepted < Some(stream) && entry.abandoned.len() < self.0.policy.per_connection {
            // The control stream was faster. A peer that is honest has no more of these than streams.
            entry.abandoned.insert(stream);
        }
    }

    /// Whether something of a connection was read that its handler does not have yet.
    pub fn is_busy(&self, connection: ConnectionId) -> bool {
        let inner = self.0.lock();
        let open = inner.connections.get(&connection);
        open.is_some_and(|open| open.handing.load(Ordering::Relaxed) > 0 || open.assembly.incomplete() > 0)
    }

    /// What is open.
    pub fn stats(&self) -> ReceiveStats {
        let inner = self.0.lock();
        ReceiveStats {
            streams: inner.counts.node(),
            peers: inner.counts.peers().collect(),
            connections: inner.counts.connections().collect(),
            accepted: inner.counts.accepted,
            refused: inner.counts.refused.total(),
            refused_by: inner.counts.refused,
            incomplete: inner.connections.values().map(|connection| connection.assembly.incomplete()).sum(),
        }
    }
}

/// What a stream that was let in shares with others of its connection.
struct Admitted {
    signal: StopSignal,
    assembly: Arc<Assembly>,
    handing: Arc<AtomicUsize>,
}

/// Takes the streams of one connection until it is gone.
async fn accept(
    shared: Arc<Shared>,
    connection: ConnectionHandle,
    mut acceptor: LinkAcceptor,
    incarnation: u64,
    gone: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gone.cancelled() => return,
            accepted = acceptor.accept_receive_stream() => accepted,
        };
        let Ok(Some(mut stream)) = accepted else { return };
        match shared.admit(&connection, &stream) {
            Ok(Admitted { signal, assembly, handing }) => {
                let slot = Slot::new(Arc::clone(&shared), connection.clone(), stream.id(), handing);
                let reader = Reader::new(slot, stream, signal, assembly, incarnation);
                let span = connection.span.clone();
                shared.tasks.spawn_on(reader.run(gone.clone()).instrument(span), &shared.runtime);
            }
            Err(code) => {
                stream.stop(code);
                let outcome = StreamOutcome::Stopped(code);
                connection.control.send(Control::StreamEnded { stream: stream.id(), frames: 0, outcome });
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new stream, or says why it is refused.
    fn admit(&self, connection: &ConnectionHandle, stream: &ReceiveStream) -> Result<Admitted, StopCode> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(entry) = inner.connections.get_mut(&connection.id) else { return Err(StopCode::Closing) };
        entry.accepted = entry.accepted.max(Some(stream.id()));
        if entry.abandoned.remove(&stream.id()) {
            return Err(StopCode::Abandoned);
        }
        if let Err(full) = inner.counts.take(connection.peer, connection.id, &self.policy) {
            let (peer, connection, stream) = (connection.peer, connection.id.0, stream.id());
            let (scope, limit, value, taken) = (full.scope.name(), full.what, full.limit, full.taken);
            tracing::debug!(%peer, connection, stream, scope, limit, value, taken, "refused a stream of the peer");
            return Err(StopCode::TooManyStreams);
        }
        let signal = StopSignal::default();
        entry.streams.insert(stream.id(), signal.clone());
        let (assembly, handing) = (Arc::clone(&entry.assembly), Arc::clone(&entry.handing));
        Ok(Admitted { signal, assembly, handing })
    }

    /// Puts a stream whose header has come in its lane's order; ready when it is its turn.
    ///
    /// `after` is waited for at most [`ReceivePolicy::header_wait`], unless it is being read. A stop comes by the
    /// signal.
    async fn turn(&self, slot: &mut Slot, header: &StreamHeader, signal: &StopSignal) -> Result<(), StopCode> {
        let (start, mut started) = oneshot::channel();
        let now = Instant::now();
        let lane = LaneId(header.lane);
        {
            let mut inner = self.lock();
            if !inner.connections.contains_key(&slot.connection.id) {
                return Err(StopCode::Closing);
            }
            let lanes = inner.lanes.entry(slot.connection.peer).or_default();
            forget_idle(lanes, lane, self.policy.lanes_per_peer);
            let entry = lanes.entry(lane).or_default();
            let mut turns = Vec::new();
            let wait = self.policy.header_wait;
            entry.order.arrive(header.generation, header.after, now, wait, &mut turns)?;
            slot.place = Some((lane, header.generation));
            entry.readers.insert(header.generation, (signal.clone(), Some(start)));
            entry.take(turns);
        }
        let late = tokio::time::sleep_until(now + self.policy.header_wait);
        tokio::select! {
            biased;
            _ = &mut started => return Ok(()),
            () = late => {}
        }
        self.reorder(slot.connection.peer, lane, |order, turns| order.tick(Instant::now(), turns));
        // Only the generation that is being read, or an older one whose own wait is not over, is before it now.
        let _ = started.await;
        Ok(())
    }

    fn reorder(&self, peer: PeerId, lane: LaneId, change: impl FnOnce(&mut LaneOrder, &mut Vec<Turn>)) {
        let mut inner = self.lock();
        let Some(entry) = inner.lanes.get_mut(&peer).and_then(|lanes| lanes.get_mut(&lane)) else { return };
        let mut turns = Vec::new();
        change(&mut entry.order, &mut turns);
        entry.take(turns);
    }

    fn ended(&self, connection: &ConnectionHandle, stream: u64, place: Option<(LaneId, u64)>) {
        if let Some((lane, generation)) = place {
            self.reorder(connection.peer, lane, |order, turns| order.ended(generation, Instant::now(), turns));
        }
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.counts.give_back(connection.peer, connection.id);
        if let Some(entry) = inner.connections.get_mut(&connection.id) {
            entry.streams.remove(&stream);
        }
        let lane = place.and_then(|(lane, generation)| {
            let lane = inner.lanes.get_mut(&connection.peer)?.get_mut(&lane)?;
            Some((lane, generation))
        });
        if let Some((lane, generation)) = lane {
            lane.readers.remove(&generation);
            lane.rest();
        }
    }
}

/// Makes room for one more lane of a peer. Numbers are drawn upwards, so the lowest is the longest gone.
fn forget_idle(lanes: &mut BTreeMap<LaneId, Lane>, wanted: LaneId, limit: usize) {
    if lanes.len() >= limit && !lanes.contains_key(&wanted) {
        let idle = lanes.iter().find(|(_, lane)| lane.order.is_idle()).map(|(id, _)| *id);
        idle.and_then(|id| lanes.remove(&id));
    }
}

impl Lane {
    /// Keeps no memory for readers that are gone: a map that was emptied keeps a node, and a peer has thousands of lanes at
    /// rest.
    fn rest(&mut self) {
        if self.readers.is_empty() {
            self.readers = BTreeMap::new();
        }
        self.order.rest();
    }

    fn take(&mut self, turns: Vec<Turn>) {
        for turn in turns {
            match turn {
                Turn::Start(generation) => {
                    if let Some(start) = self.readers.get_mut(&generation).and_then(|(_, start)| start.take()) {
                        // Where nobody waits any more, `ended` follows.
                        let _ = start.send(());
                    }
                }
                Turn::Stop(generation, code) => {
                    if let Some((signal, _)) = self.readers.get(&generation) {
                        signal.stop(code);
                    }
                }
            }
        }
    }
}
