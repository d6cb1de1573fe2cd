//! The traffic of a simulation: a native protocol that labels what it sends and reports what it gets to the oracle.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use weir_host::peer::PeerId;
use weir_host::protocol::{
    AskError, Delivered, Delivery, Handler, InBatch, Inbound, Network, News, NotTaken, Outgoing, ProtocolId,
    ProtocolSpec, RegisterError, SendError,
};

use crate::oracle::{FlowId, LABEL, Label, Oracle};
use crate::trace::Trace;

/// Largest body, in bytes.
pub const MAX_MESSAGE: u32 = 64 << 10;

/// Everybody who takes part: names and ids by index.
pub type Directory = Arc<Vec<PeerId>>;

/// The id of a protocol of the simulation.
#[expect(clippy::expect_used, reason = "the form is right for every number")]
pub fn protocol(number: u8) -> ProtocolId {
    format!("/sim-{number}/1.0.0").parse().expect("a protocol id")
}

/// What a courier needs of its node.
#[derive(Clone)]
pub struct Post {
    /// Index of the node.
    pub node: usize,
    /// Which run of it.
    pub boot: u32,
    /// Everybody.
    pub directory: Directory,
    /// The node itself.
    pub network: Arc<dyn Network>,
    /// Judges.
    pub oracle: Oracle,
    /// Writes down.
    pub trace: Trace,
}

impl Post {
    fn index(&self, peer: &PeerId) -> Option<usize> {
        self.directory.iter().position(|id| id == peer)
    }

    fn name(&self) -> String {
        format!("n{}", self.node)
    }
}

/// One registration of one protocol at one node.
pub struct Courier {
    post: Post,
    number: u8,
    /// Counts the registrations of this run of the node.
    registration: u32,
    /// Milliseconds that a batch takes.
    pace: AtomicU64,
    /// Since the last line in the trace: from whom, how many, the last number.
    tally: Mutex<BTreeMap<usize, (u64, u64)>>,
}

impl Courier {
    /// Registers the protocol.
    ///
    /// # Errors
    /// As the node says.
    pub fn register(post: Post, number: u8, registration: u32, pace: Duration) -> Result<Arc<Self>, RegisterError> {
        let pace = AtomicU64::new(pace.as_millis() as u64);
        let courier = Arc::new(Self { post, number, registration, pace, tally: Mutex::default() });
        courier.post.trace.note(&courier.post.name(), format_args!("register p{number} as {registration}"));
        courier.post.oracle.registers(courier.post.node, courier.post.boot, number, registration);
        courier.post.network.register(courier.spec(), "courier", courier.clone())?;
        Ok(courier)
    }

    /// Takes the place of another courier without a word to any peer.
    ///
    /// # Errors
    /// When the protocol is not registered.
    pub fn replace(post: Post, number: u8, registration: u32, pace: Duration) -> Result<Arc<Self>, RegisterError> {
        let pace = AtomicU64::new(pace.as_millis() as u64);
        let courier = Arc::new(Self { post, number, registration, pace, tally: Mutex::default() });
        courier.post.trace.note(&courier.post.name(), format_args!("replace p{number} by {registration}"));
        courier.post.network.replace(&protocol(number), "courier", courier.clone())?;
        Ok(courier)
    }

    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec { id: protocol(self.number), delivery: Delivery::Ordered, max_message: MAX_MESSAGE }
    }

    /// The number of this registration in its run.
    pub fn registration(&self) -> u32 {
        self.registration
    }

    fn flow_from(&self, peer: usize, boot: u32) -> FlowId {
        FlowId { from: peer, boot, to: self.post.node, protocol: self.number }
    }

    fn take(&self, batch: InBatch) {
        let Some(peer) = self.post.index(&batch.peer) else { return };
        let mut last = 0;
        let count = batch.items.len() as u64;
        for item in batch.items {
            match item {
                Inbound::Message(body) => last = self.judge(peer, &body).unwrap_or_default(),
                Inbound::Request { token, body, .. } => {
                    self.post.network.respond(token, Ok(body));
                }
            }
        }
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = tally.entry(peer).or_default();
        *of_peer = (of_peer.0 + count, last.max(of_peer.1));
        let line = format_args!("got p{} from n{peer}: {count} up to {last}", self.number).to_string();
        drop(tally);
        self.post.trace.note(&self.post.name(), line);
    }

    fn judge(&self, peer: usize, body: &[u8]) -> Option<u64> {
        let Some(label) = Label::read(body) else {
            self.post.oracle.found("a body arrives as it was sent", format!("n{} from n{peer}", self.post.node));
            return None;
        };
        let registration = (self.post.boot, self.registration);
        self.post.oracle.delivered(self.flow_from(peer, label.boot), registration, label);
        Some(label.number)
    }
}

impl Handler for Courier {
    fn deliver(&self, batch: InBatch) -> Delivered<'_> {
        Box::pin(async move {
            let pace = self.pace.load(Ordering::Relaxed);
            if pace > 0 {
                sleep(Duration::from_millis(pace)).await;
            }
            self.take(batch);
            Ok::<(), NotTaken>(())
        })
    }

    fn news(&self, news: News) {
        let Post { node, boot, oracle, trace, .. } = &self.post;
        let flow = |to: usize| FlowId { from: *node, boot: *boot, to, protocol: self.number };
        let told = match news {
            News::Supported { peer, .. } => self
                .post
                .index(&peer)
                .map(|to| format!("p{} supported by n{to}, opening {}", self.number, oracle.opened(flow(to)))),
            News::Unsupported { peer, .. } => {
                self.post.index(&peer).map(|to| format!("p{} unsupported by n{to}", self.number))
            }
            News::Undelivered { peer, messages, .. } => self.post.index(&peer).map(|to| {
                oracle.undelivered(flow(to), messages);
                format!("p{} undelivered to n{to}: {messages}", self.number)
            }),
            News::Congested { peer, .. } => {
                self.post.index(&peer).map(|to| format!("p{} congested to n{to}", self.number))
            }
            News::Relieved { peer, .. } => {
                self.post.index(&peer).map(|to| format!("p{} relieved to n{to}", self.number))
            }
            News::Missed { .. } | News::Withdrawn(_) => None,
        };
        if let Some(told) = told {
            trace.note(&self.post.name(), told);
        }
    }
}

/// How much to send, and how.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// To which node.
    pub to: usize,
    /// By which protocol.
    pub protocol: u8,
    /// How often it is tried.
    pub count: u64,
    /// Bytes of each body.
    pub size: usize,
    /// Between two tries; none sends as long as there is room.
    pub gap: Duration,
    /// Every which message is an ask; 0 for none.
    pub asks: u64,
    /// When it is over, however often it was tried.
    pub until: Option<Duration>,
}

/// How long an ask waits.
const ASK_TIME: Duration = Duration::from_secs(5);

/// Sends until the count is reached, whatever becomes of each.
pub async fn flood(post: Post, flood: Flood) {
    let Flood { to, protocol: number, count, size, gap, asks, until } = flood;
    let (peer, id) = (post.directory[to], protocol(number));
    let flow = FlowId { from: post.node, boot: post.boot, to, protocol: number };
    let (mut sent, mut refused) = (0, BTreeMap::<&'static str, u64>::new());
    for index in 0..count {
        if until.is_some_and(|until| turmoil::sim_elapsed().unwrap_or_default() >= until) {
            break;
        }
        let outcome =
            if asks > 0 && index % asks == asks - 1 { ask(&post, flow, size) } else { send(&post, flow, size) };
        let busy = outcome == Err(SendError::Busy);
        match outcome {
            Ok(()) => sent += 1,
            Err(why) => *refused.entry(name(why)).or_default() += 1,
        }
        if !gap.is_zero() {
            sleep(gap).await;
        } else if busy || index % 64 == 63 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    post.trace.note(&post.name(), format_args!("flood of {id} to n{to} over: {sent} sent, refused {refused:?}"));
    let _ = peer;
}

fn name(why: SendError) -> &'static str {
    match why {
        SendError::NotConnected => "not-connected",
        SendError::Unsupported => "unsupported",
        SendError::Busy => "busy",
        SendError::TooLarge => "too-large",
        SendError::Closed => "closed",
    }
}

fn send(post: &Post, flow: FlowId, size: usize) -> Result<(), SendError> {
    let (peer, id) = (post.directory[flow.to], protocol(flow.protocol));
    let lane = post.network.lane(&peer, &id)?;
    if lane.room == 0 {
        post.network.wants_room(&peer, &id);
        return Err(SendError::Busy);
    }
    let body = post.oracle.next(flow).body(size.clamp(LABEL, lane.max_message as usize));
    // Counted before: what is told as undelivered at once must not be more than what was accepted.
    post.oracle.accepted(flow);
    post.network.commit(&peer, &id, vec![Outgoing::Message(body)]);
    Ok(())
}

fn ask(post: &Post, flow: FlowId, size: usize) -> Result<(), SendError> {
    let (peer, id) = (post.directory[flow.to], protocol(flow.protocol));
    let lane = post.network.lane(&peer, &id)?;
    if lane.room == 0 {
        return Err(SendError::Busy);
    }
    let body = Label { boot: flow.boot, registration: 0, opening: 0, number: 1 }
        .body(size.clamp(LABEL, lane.max_message as usize));
    let deadline = turmoil::sim_elapsed().unwrap_or_default() + ASK_TIME;
    let mut open = OpenAsk { oracle: post.oracle.clone(), ask: post.oracle.asked(post.node, deadline), ended: false };
    let sent = body.clone();
    let reply = Box::new(move |outcome: Result<bytes::Bytes, AskError>| {
        if outcome.as_ref().is_ok_and(|answer| *answer != sent) {
            open.oracle.found("an answer is the one to its ask", format!("ask {}", open.ask));
        }
        open.ended = true;
        open.oracle.ask_ended(open.ask, Some(outcome.is_ok()));
    });
    let what = Outgoing::Ask { id: post.network.next_ask(), timeout: ASK_TIME, body, reply };
    post.network.commit(&peer, &id, vec![what]);
    Ok(())
}

/// Notices when an ask is dropped without an outcome.
struct OpenAsk {
    oracle: Oracle,
    ask: u64,
    ended: bool,
}

impl Drop for OpenAsk {
    fn drop(&mut self) {
        if !self.ended {
            self.oracle.ask_ended(self.ask, None);
        }
    }
}
