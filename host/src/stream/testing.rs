//! Two nodes with real connections: one sends on lanes, the other receives, and control messages go straight across.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::connection::{ConnectionHandle, ConnectionId, ControlSender};
use crate::transport::testing::{TestNode, config, soon};
use crate::transport::{Link, StreamLimits, TransportConfig};
use crate::wire::{Control, FrameKind};

/// The incarnation of the sending end.
pub(super) const INCARNATION: u64 = 77;

/// Every protocol of the receiving end takes messages of this size, in bytes.
pub(super) const MAX_MESSAGE: u32 = 1 << 20;

/// The handler of one registration: delivered frames wait in a channel of four batches.
pub(super) struct TestOutlet {
    frames: mpsc::Sender<Vec<Frame>>,
    pub(super) closed: CancellationToken,
}

impl Outlet for TestOutlet {
    fn max_message(&self) -> u32 {
        MAX_MESSAGE
    }

    fn deliver(&self, frames: Vec<Frame>) -> Delivery<'_> {
        Box::pin(async { self.frames.send(frames).await.map_err(|_| StopCode::HandlerGone) })
    }

    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

#[derive(Default)]
pub(super) struct TestInlet {
    outlets: Mutex<HashMap<u64, Arc<TestOutlet>>>,
    /// Every header that came.
    pub(super) headers: Mutex<Vec<StreamHeader>>,
}

impl TestInlet {
    /// Registers a number; what is delivered to it comes out of the channel.
    pub(super) fn register(&self, registration: u64) -> (Arc<TestOutlet>, mpsc::Receiver<Vec<Frame>>) {
        let (frames, received) = mpsc::channel(4);
        let outlet = Arc::new(TestOutlet { frames, closed: CancellationToken::new() });
        self.outlets.lock().expect("no panic").insert(registration, Arc::clone(&outlet));
        (outlet, received)
    }
}

impl Inlet for TestInlet {
    fn open<'a>(&'a self, _: PeerId, header: &'a StreamHeader) -> Opening<'a> {
        self.headers.lock().expect("no panic").push(*header);
        let found = self.outlets.lock().expect("no panic").get(&header.registration).cloned();
        Box::pin(async { found.map(|outlet| outlet as Arc<dyn Outlet>).ok_or(StopCode::Unregistered) })
    }
}

/// Counts what a lane tells.
#[derive(Default)]
pub(super) struct Told {
    /// Congested minus relieved.
    pub(super) congested: AtomicI64,
    pub(super) undelivered: AtomicU64,
    pub(super) news: Notify,
}

impl LaneEvents for Told {
    fn congested(&self) {
        assert_eq!(self.congested.fetch_add(1, Ordering::SeqCst), 0, "congested twice");
        self.news.notify_one();
    }

    fn relieved(&self) {
        assert_eq!(self.congested.fetch_sub(1, Ordering::SeqCst), 1, "relieved twice");
        self.news.notify_one();
    }

    fn undelivered(&self, messages: u64) {
        self.undelivered.fetch_add(messages, Ordering::SeqCst);
        self.news.notify_one();
    }
}

impl Told {
    /// Waits until the lane has told enough.
    pub(super) async fn until(&self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            self.news.notified().await;
        }
    }

    pub(super) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::SeqCst)
    }

    pub(super) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::SeqCst) == 1
    }
}

/// A stream that the receiving end reported as ended: its id, frames, and how.
type Report = (u64, u64, crate::wire::StreamOutcome);

/// Both ends of one connection.
pub(super) struct Wire {
    pub(super) near: ConnectionHandle,
    pub(super) far: ConnectionHandle,
}

/// A sending node and a receiving one, and their first connection.
pub(super) struct Ends {
    pub(super) near: ConnectionHandle,
    pub(super) pools: Arc<SendStreamPoolManager>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) inlet: Arc<TestInlet>,
    pub(super) receive: ReceiveStreamManager,
    pub(super) far: ConnectionHandle,
    /// Pools, writers and readers.
    pub(super) tasks: TaskTracker,
    /// Every end that the receiving end reported.
    pub(super) reports: mpsc::Receiver<Report>,
    report: mpsc::Sender<Report>,
    limits: StreamLimits,
    last_id: AtomicU64,
}

pub(super) async fn ends(limits: StreamLimits, pool: PoolPolicy, receive: ReceivePolicy) -> Ends {
    ends_with(limits, pool, LoadPolicy::default(), receive).await
}

/// The same, with a policy for further connections.
pub(super) async fn ends_with(
    limits: StreamLimits,
    pool: PoolPolicy,
    load: LoadPolicy,
    receive: ReceivePolicy,
) -> Ends {
    let (tasks, runtime) = (TaskTracker::new(), Handle::current());
    let pools = Arc::new(SendStreamPoolManager::new(pool, tasks.clone(), runtime.clone()).with_load(load));
    let config = LanesConfig { incarnation: INCARNATION, sequence: Box::new(|| 5), limits: LaneLimits::default() };
    let lanes = Lanes::new(Arc::clone(&pools), config, tasks.clone(), runtime.clone());
    let inlet = Arc::new(TestInlet::default());
    let receive = ReceiveStreamManager::new(Arc::clone(&inlet) as Arc<dyn Inlet>, receive, tasks.clone(), runtime);
    let (report, reports) = mpsc::channel(1000);
    let Wire { near, far } = connect(DIALER, 1, limits, &pools, &receive, &report).await;
    pools.add(&near, limits.max_streams);
    let last_id = AtomicU64::new(2);
    Ends { near, pools, lanes, inlet, receive, far, tasks, reports, report, limits, last_id }
}

/// The seed of the sending node's key.
const DIALER: u64 = 1;

/// Another connection to the receiving node, from the node with this seed; its ids are `id` and the next.
async fn connect(
    seed: u64,
    id: u64,
    limits: StreamLimits,
    pools: &Arc<SendStreamPoolManager>,
    receive: &ReceiveStreamManager,
    report: &mpsc::Sender<Report>,
) -> Wire {
    let dialer = TestNode::start_with(TransportConfig { limits, ..config(seed) });
    let mut listener = TestNode::start_with(TransportConfig { limits, ..config(2) });
    let dialed = soon(dialer.transport.dial(listener.address())).await.expect("a dial on loopback");
    let accepted = listener.accept().await;
    let (near, near_control, _acceptor) = handle(dialed, id);
    let (far, far_control, acceptor) = handle(accepted, id + 1);
    receive.add(far.clone(), acceptor, INCARNATION);
    tokio::spawn(carry(near_control, receive.clone(), far.id));
    tokio::spawn(bring_back(far_control, Arc::clone(pools), near.id, report.clone()));
    Wire { near, far }
}

fn handle(link: Link, id: u64) -> (ConnectionHandle, mpsc::Receiver<Control>, crate::transport::LinkAcceptor) {
    let (queue, control) = mpsc::channel(10_000);
    let handle = ConnectionHandle {
        id: ConnectionId(id),
        peer: link.peer,
        direction: link.direction,
        control: ControlSender::new(queue, link.handle.clone()),
        link: link.handle,
        span: tracing::info_span!("connection", id, direction = ?link.direction),
        drained: Arc::new(Notify::new()),
    };
    (handle, control, link.acceptor)
}

async fn carry(mut control: mpsc::Receiver<Control>, to: ReceiveStreamManager, connection: ConnectionId) {
    while let Some(message) = control.recv().await {
        if let Control::Abandon { stream } = message {
            to.abandon(connection, stream);
        }
    }
}

async fn bring_back(
    mut control: mpsc::Receiver<Control>,
    to: Arc<SendStreamPoolManager>,
    connection: ConnectionId,
    report: mpsc::Sender<Report>,
) {
    while let Some(message) = control.recv().await {
        match message {
            Control::StreamProgress { stream, frames } => to.progress(connection, stream, frames),
            Control::StreamEnded { stream, frames, outcome } => {
                to.ended(connection, stream, frames, outcome);
                // A test that does not look has room for all it makes.
                let _ = report.try_send((stream, frames, outcome));
            }
            other => panic!("{other:?} is no report"),
        }
    }
}

impl Ends {
    /// One more connection between the two, for lanes, too.
    pub(super) async fn connect(&self) -> Wire {
        let wire = self.connect_from(DIALER).await;
        self.pools.add(&wire.near, self.limits.max_streams);
        wire
    }

    /// One more connection to the receiving node, from a node with another key: for raw streams.
    pub(super) async fn connect_from(&self, seed: u64) -> Wire {
        let id = self.last_id.fetch_add(2, Ordering::Relaxed) + 1;
        connect(seed, id, self.limits, &self.pools, &self.receive, &self.report).await
    }

    /// The first connection.
    pub(super) fn first(&self) -> Wire {
        Wire { near: self.near.clone(), far: self.far.clone() }
    }

    /// A connection breaks, and both nodes notice.
    pub(super) fn lose(&self, wire: &Wire) {
        wire.far.link.close(crate::wire::CloseCode::Shutdown);
        self.receive.remove(wire.far.id);
        self.pools.remove(wire.near.id);
    }

    /// A lane to the registration, and what it tells.
    pub(super) fn lane(&self, registration: u64) -> (Lane, Arc<Told>) {
        self.lane_of(registration, &OutboundBudget::new(BudgetLimits::default()))
    }

    /// The same, with a budget that lanes share.
    pub(super) fn lane_of(&self, registration: u64, budget: &Arc<OutboundBudget>) -> (Lane, Arc<Told>) {
        let told = Arc::new(Told::default());
        let events = Arc::clone(&told) as Arc<dyn LaneEvents>;
        (self.lanes.open(self.near.peer, registration, Arc::clone(budget), events), told)
    }

    pub(super) fn pool(&self) -> SendStreamPool {
        self.pools.best(&self.near.peer).expect("the connection is there")
    }
}

/// A message that begins with its number.
pub(super) fn numbered(number: u64, size: usize) -> OutFrame {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(size.max(8), 0);
    OutFrame::Message(Bytes::from(body))
}

/// The number of every message in a batch.
pub(super) fn numbers(frames: &[Frame]) -> Vec<u64> {
    let number = |frame: &Frame| {
        assert_eq!(frame.kind, FrameKind::Message);
        u64::from_be_bytes(frame.body[..8].try_into().expect("eight bytes"))
    };
    frames.iter().map(number).collect()
}
