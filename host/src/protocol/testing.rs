//! Protocol managers over real links, with the control messages in the hands of the test: it may hold, repeat and
//! invent them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

use super::*;
use crate::connection::{ConnectionEvent, ConnectionHandle, ConnectionId, ControlSender, LocalHello};
use crate::identity::NodeKey;
use crate::peer::PeerId;
use crate::runtime::SeededEntropy;
use crate::stream::{LaneLimits, Lanes, LanesConfig, PoolPolicy, ReceivePolicy, SendStreamPoolManager};
use crate::transport::testing::{pair, soon};
use crate::transport::{Link, LinkAcceptor, LinkError, SendStream, StreamLimits};
use crate::wire::{
    CloseCode, Control, FrameWriter, Hello, ProtocolEntry, SetChange, StopCode, StreamHeader, StreamOutcome,
};

/// The seeds of the keys that [`pair`] uses: who dials, who is dialed.
const DIALER: u64 = 1;
const LISTENER: u64 = 2;

pub(super) fn name(id: &str) -> ProtocolId {
    id.parse().expect("a protocol id")
}

pub(super) fn spec(id: &str) -> ProtocolSpec {
    ProtocolSpec { id: name(id), delivery: Delivery::Ordered, max_message: 1 << 20 }
}

pub(super) fn entry(id: &str, registration: u64) -> ProtocolEntry {
    ProtocolEntry { id: id.into(), registration, max_message: 1 << 20 }
}

/// A manager without a connection layer.
pub(super) struct Side {
    pub(super) peer: PeerId,
    pub(super) incarnation: u64,
    pub(super) protocols: ProtocolManager,
    pub(super) tasks: TaskTracker,
}

impl Side {
    /// The one who dials.
    pub(super) fn near(incarnation: u64) -> Self {
        Self::start(DIALER, incarnation, ReceivePolicy::default())
    }

    /// The one who is dialed.
    pub(super) fn far(incarnation: u64) -> Self {
        Self::start(LISTENER, incarnation, ReceivePolicy::default())
    }

    /// One who dials, and whose streams wait only so long for a set.
    pub(super) fn impatient(incarnation: u64, header_wait: Duration) -> Self {
        Self::start(DIALER, incarnation, ReceivePolicy { header_wait, ..ReceivePolicy::default() })
    }

    fn start(seed: u64, incarnation: u64, receive: ReceivePolicy) -> Self {
        let peer = NodeKey::generate(&SeededEntropy::from_seed(seed)).peer_id();
        let (tasks, sequence) = (TaskTracker::new(), Arc::new(AtomicU64::new(0)));
        let handle = tokio::runtime::Handle::current();
        let pools = Arc::new(SendStreamPoolManager::new(PoolPolicy::default(), tasks.clone(), handle.clone()));
        let read = sequence.clone();
        let sequence_now = Box::new(move || read.load(Ordering::Acquire));
        let lanes = LanesConfig { incarnation, sequence: sequence_now, limits: LaneLimits::default() };
        let lanes = Lanes::new(pools.clone(), lanes, tasks.clone(), handle);
        let streams = Streams { lanes, pools, receive, sequence, tasks: tasks.clone() };
        let protocols = ProtocolManager::new(peer, incarnation, ProtocolPolicy::default(), streams);
        Self { peer, incarnation, protocols, tasks }
    }

    pub(super) fn register(&self, id: &str) -> Inbox {
        let (handler, inbox) = native(64);
        self.protocols.register(spec(id), "test", handler).expect("free");
        inbox
    }

    /// What it says first on a connection.
    pub(super) fn hello(&self) -> Hello {
        let (sequence, protocols) = self.protocols.protocols();
        hello(self.incarnation, sequence, protocols)
    }

    pub(super) fn up(&self, end: &End, acceptor: LinkAcceptor, hello: Hello, sent_sequence: u64) {
        let connection = end.handle.clone();
        let first = true;
        self.protocols.handle(ConnectionEvent::Up { connection, hello, address: None, sent_sequence, acceptor, first });
    }

    pub(super) fn control(&self, end: &End, message: Control) {
        self.protocols.handle(ConnectionEvent::Control { connection: end.handle.id, peer: end.handle.peer, message });
    }

    pub(super) fn down(&self, end: &End, last: bool) {
        let (connection, peer) = (end.handle.id, end.handle.peer);
        let cause = LinkError::TimedOut;
        self.protocols.handle(ConnectionEvent::Down { connection, peer, cause, reason: "a test".into(), last });
    }

    pub(super) fn drain(&self, end: &End) {
        self.protocols.handle(ConnectionEvent::Draining { connection: end.handle.id, peer: end.handle.peer });
    }

    /// Lets its deadlines be looked at as if it were later by so much.
    pub(super) fn later(&self, by: Duration) {
        self.protocols.inner.tick(std::time::Instant::now() + by);
    }
}

pub(super) fn hello(incarnation: u64, sequence: u64, protocols: Vec<ProtocolEntry>) -> Hello {
    let max_streams = StreamLimits::default().max_streams;
    Hello {
        version: crate::wire::WIRE_VERSION,
        incarnation,
        dial: 1,
        beside: false,
        max_streams,
        address: None,
        sequence,
        protocols,
    }
}

/// One end of a connection; what its side wants to say comes out of `says`.
pub(super) struct End {
    pub(super) handle: ConnectionHandle,
    pub(super) says: mpsc::Receiver<Control>,
}

fn end(link: Link, id: u64) -> (End, LinkAcceptor) {
    let (queue, says) = mpsc::channel(10_000);
    let control = ControlSender::new(queue, link.handle.clone());
    let (peer, direction, drained) = (link.peer, link.direction, Arc::new(Notify::new()));
    let handle = ConnectionHandle {
        id: ConnectionId(id),
        peer,
        direction,
        link: link.handle,
        control,
        span: tracing::Span::none(),
        drained,
    };
    (End { handle, says }, link.acceptor)
}

/// Connects two managers; both are told at once. Connections of one manager need different ids.
pub(super) async fn join(near: &Side, far: &Side, id: u64) -> (End, End) {
    let (dialed, accepted) = pair().await;
    let ((near_end, near_acceptor), (far_end, far_acceptor)) = (end(dialed, id), end(accepted, id));
    let (near_hello, far_hello) = (near.hello(), far.hello());
    let (near_sent, far_sent) = (near_hello.sequence, far_hello.sequence);
    near.up(&near_end, near_acceptor, far_hello, near_sent);
    far.up(&far_end, far_acceptor, near_hello, far_sent);
    (near_end, far_end)
}

/// Whether protocol sets and their acknowledgements pass; everything else always does.
pub(super) type Valve = watch::Sender<bool>;

/// Carries control messages both ways until both ends are gone; returns the valves of what `near` and `far` say.
pub(super) fn carry(near: (&Side, End), far: (&Side, End)) -> (Valve, Valve) {
    let valves = (Valve::new(true), Valve::new(true));
    carry_one(near.1.says, far.0.protocols.clone(), far.1.handle.clone(), valves.0.subscribe());
    carry_one(far.1.says, near.0.protocols.clone(), near.1.handle, valves.1.subscribe());
    valves
}

fn carry_one(
    mut says: mpsc::Receiver<Control>,
    to: ProtocolManager,
    at: ConnectionHandle,
    mut open: watch::Receiver<bool>,
) {
    let (later, mut held) = mpsc::channel(10_000);
    let (to_late, connection, peer) = (to.clone(), at.id, at.peer);
    tokio::spawn(async move {
        while let Some(message) = says.recv().await {
            if matches!(message, Control::Protocols { .. } | Control::ProtocolsApplied { .. }) {
                later.send(message).await.expect("room in a test");
            } else {
                to.handle(ConnectionEvent::Control { connection, peer, message });
            }
        }
    });
    tokio::spawn(async move {
        while let Some(message) = held.recv().await {
            // A valve that is gone was open.
            let _ = open.wait_for(|open| *open).await;
            to_late.handle(ConnectionEvent::Control { connection, peer, message });
        }
    });
}

/// A peer that is played by the test.
pub(super) struct Puppet {
    pub(super) incarnation: u64,
    /// Its end of the link.
    pub(super) own: End,
    /// The streams that the manager opens.
    pub(super) streams: LinkAcceptor,
    /// The end of the manager it plays with.
    pub(super) theirs: End,
}

impl Puppet {
    /// Connects to a manager with this hello.
    pub(super) async fn connect(to: &Side, id: u64, hello: Hello) -> Self {
        let (dialed, accepted) = pair().await;
        let ((theirs, acceptor), (own, streams)) = (end(dialed, id), end(accepted, id));
        let incarnation = hello.incarnation;
        to.up(&theirs, acceptor, hello, to.hello().sequence);
        Self { incarnation, own, streams, theirs }
    }

    /// Pushes a change of its set.
    pub(super) fn push(&self, to: &Side, sequence: u64, change: SetChange) {
        to.control(&self.theirs, Control::Protocols { incarnation: self.incarnation, sequence, change });
    }

    /// Acknowledges what the manager pushed.
    pub(super) fn acknowledge(&self, to: &Side, sequence: u64) {
        to.control(&self.theirs, Control::ProtocolsApplied { incarnation: to.incarnation, sequence });
    }

    /// What the manager pushes next.
    pub(super) async fn pushed(&mut self) -> (u64, SetChange) {
        loop {
            let said = soon(self.theirs.says.recv()).await.expect("the manager is there");
            if let Control::Protocols { sequence, change, .. } = said {
                return (sequence, change);
            }
        }
    }

    /// The acknowledgement the manager says next.
    pub(super) async fn acknowledged(&mut self) -> u64 {
        loop {
            let said = soon(self.theirs.says.recv()).await.expect("the manager is there");
            if let Control::ProtocolsApplied { sequence, .. } = said {
                return sequence;
            }
        }
    }

    /// How the manager reports that a stream ended.
    pub(super) async fn ended(&mut self, wanted: u64) -> (u64, StreamOutcome) {
        loop {
            let said = soon(self.theirs.says.recv()).await.expect("the manager is there");
            if let Control::StreamEnded { stream, frames, outcome } = said
                && stream == wanted
            {
                return (frames, outcome);
            }
        }
    }

    /// Whatever the manager has said and nobody has read.
    pub(super) fn unread(&mut self) -> Vec<Control> {
        std::iter::from_fn(|| self.theirs.says.try_recv().ok()).collect()
    }

    /// Opens a stream for a registration of the manager, as of this sequence of its own set, with one message. Every
    /// call is a lane of its own.
    pub(super) async fn open(&self, registration: u64, sequence: u64, lane: u64, body: &[u8]) -> SendStream {
        let mut stream = soon(self.own.handle.link.clone().open_send_stream()).await.expect("connected");
        let mut head = BytesMut::new();
        let incarnation = self.incarnation;
        StreamHeader { registration, sequence, incarnation, lane, generation: 1, after: 0 }.encode(&mut head);
        // The manager may stop it at once.
        let _ = stream.write(&mut [head.freeze(), frame(body)]).await;
        stream
    }

    /// The same, and the stream ends after the message.
    pub(super) async fn message(&self, registration: u64, sequence: u64, lane: u64, body: &[u8]) -> SendStream {
        let mut stream = self.open(registration, sequence, lane, body).await;
        let _ = stream.finish();
        stream
    }

    /// Whether the manager closes the connection with the code.
    pub(super) async fn is_closed_with(&self, code: CloseCode) -> bool {
        let closed = async {
            loop {
                match self.own.handle.link.clone().open_send_stream().await {
                    Err(LinkError::Closed { code, .. }) => return code,
                    Err(other) => panic!("{other}"),
                    // Not there yet.
                    Ok(mut unused) => drop(unused.finish()),
                }
                tokio::task::yield_now().await;
            }
        };
        soon(closed).await == code
    }
}

/// A message as it is written.
pub(super) fn frame(body: &[u8]) -> Bytes {
    let mut frames = FrameWriter::default();
    frames.message(body);
    frames.take()
}

pub(super) fn stopped(code: StopCode) -> StreamOutcome {
    StreamOutcome::Stopped(code)
}

pub(super) async fn next(inbox: &mut Inbox) -> NativeEvent {
    soon(inbox.next()).await.expect("registered")
}

/// The next batch, past all news.
pub(super) async fn next_messages(inbox: &mut Inbox) -> Vec<Bytes> {
    loop {
        let NativeEvent::Batch(batch) = next(inbox).await else { continue };
        let body = |item| match item {
            Inbound::Message(body) => body,
            Inbound::Request { body, .. } => body,
        };
        return batch.items.into_iter().map(body).collect();
    }
}

pub(super) fn supported(peer: PeerId, id: &str) -> NativeEvent {
    NativeEvent::News(News::Supported { peer, protocol: name(id), max_message: 1 << 20 })
}

pub(super) fn unsupported(peer: PeerId, id: &str) -> NativeEvent {
    NativeEvent::News(News::Unsupported { peer, protocol: name(id) })
}

/// Waits for a condition, 20 s at most.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, wait).await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
}
