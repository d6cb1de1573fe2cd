//! Two managers over real QUIC: exchange, messages, requests, replacement and unregistration as handlers see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::connection::{ConnectionConfig, ConnectionManager};
use crate::identity::NodeKey;
use crate::peer::PeerAddr;
use crate::runtime::Runtime;
use crate::stream::{LaneLimits, Lanes, LanesConfig, PoolPolicy, ReceivePolicy, SendStreamPoolManager};
use crate::transport::{Transport, TransportConfig};
use crate::wire::CloseCode;

struct Node {
    address: PeerAddr,
    protocols: ProtocolManager,
    connections: ConnectionManager,
    _transport: Transport,
}

impl Node {
    fn start() -> Self {
        let runtime = Runtime::system().expect("randomness");
        let key = Arc::new(NodeKey::generate(&*runtime.entropy));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (transport, incoming) = Transport::bind(TransportConfig::new(key.clone(), listen)).expect("a free port");
        let config = ConnectionConfig::new(64, &runtime);
        let (tasks, sequence) = (TaskTracker::new(), Arc::new(AtomicU64::new(0)));
        let handle = tokio::runtime::Handle::current();
        let pools = Arc::new(SendStreamPoolManager::new(PoolPolicy::default(), tasks.clone(), handle.clone()));
        let read = sequence.clone();
        let lanes = LanesConfig {
            incarnation: config.incarnation,
            sequence: Box::new(move || read.load(Ordering::Acquire)),
            limits: LaneLimits::default(),
        };
        let lanes = Lanes::new(pools.clone(), lanes, tasks.clone(), handle);
        let streams = Streams { lanes, pools, receive: ReceivePolicy::default(), sequence, tasks };
        let protocols = ProtocolManager::new(key.peer_id(), config.incarnation, ProtocolPolicy::default(), streams);
        let (events, mut received) = mpsc::channel(64);
        let hello = Arc::new(protocols.clone());
        let connections = ConnectionManager::start(config, transport.clone(), incoming, hello, &runtime, events);
        let handler = protocols.clone();
        tokio::spawn(async move {
            while let Some(event) = received.recv().await {
                handler.handle(event);
            }
        });
        tokio::spawn(protocols.clone().run(CancellationToken::new()));
        let address = PeerAddr { peer: key.peer_id(), address: transport.local_address() };
        Self { address, protocols, connections, _transport: transport }
    }

    fn register(&self, id: &str) -> Inbox {
        let (handler, inbox) = native(8);
        self.protocols.register(spec(id), "test", handler).expect("free");
        inbox
    }

    async fn ask(&self, to: &Self, id: &str, body: &'static [u8]) -> Result<Bytes, AskError> {
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |outcome| drop(reply.send(outcome)));
        let timeout = Duration::from_secs(5);
        let ask = Outgoing::Ask { id: self.protocols.next_ask(), timeout, body: Bytes::from_static(body), reply };
        self.protocols.commit(&to.address.peer, &name(id), vec![ask]);
        answer.await.expect("exactly one outcome")
    }
}

fn name(id: &str) -> ProtocolId {
    id.parse().expect("a protocol id")
}

fn spec(id: &str) -> ProtocolSpec {
    ProtocolSpec { id: name(id), delivery: Delivery::Ordered, max_message: 1 << 20 }
}

async fn next(inbox: &mut Inbox) -> NativeEvent {
    timeout(Duration::from_secs(20), inbox.next()).await.expect("an event in time").expect("registered")
}

async fn connected() -> (Node, Node) {
    let (a, b) = (Node::start(), Node::start());
    a.connections.dial(b.address).await.expect("admitted");
    let knows = |one: &Node, other: &Node| one.protocols.inner.pairs.peer(&other.address.peer).is_some();
    let both = async {
        while !(knows(&a, &b) && knows(&b, &a)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), both).await.expect("both know");
    (a, b)
}

fn supported(by: &Node, id: &str) -> NativeEvent {
    NativeEvent::News(News::Supported { peer: by.address.peer, protocol: name(id), max_message: 1 << 20 })
}

fn unsupported(by: &Node, id: &str) -> NativeEvent {
    NativeEvent::News(News::Unsupported { peer: by.address.peer, protocol: name(id) })
}

/// Reads messages until `count` came, and fails on anything out of order.
async fn read_in_order(inbox: &mut Inbox, count: u64) {
    let mut expected = 0_u64;
    while expected < count {
        match next(inbox).await {
            NativeEvent::Batch(batch) => {
                for item in batch.items {
                    let Inbound::Message(body) = item else { panic!("no message") };
                    assert_eq!(&body[..8], expected.to_be_bytes(), "in order, each once");
                    expected += 1;
                }
            }
            NativeEvent::News(News::Congested { .. } | News::Relieved { .. }) => {}
            NativeEvent::News(other) => panic!("{other:?} after {expected} messages"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_registered_on_a_live_connection_carries_messages_in_order() {
    let (a, b) = connected().await;
    assert_eq!(a.protocols.lane(&b.address.peer, &name("/late/1")), Err(SendError::Closed), "not registered here");
    let mut at_a = a.register("/late/1");
    let mut at_b = b.register("/late/1");
    assert_eq!(next(&mut at_a).await, supported(&b, "/late/1"));
    assert_eq!(next(&mut at_b).await, supported(&a, "/late/1"));
    let count = 100_000_u64;
    let (protocols, to) = (a.protocols.clone(), b.address.peer);
    let sender = tokio::spawn(async move {
        for at in 0..count {
            let mut body = [0; 64];
            body[..8].copy_from_slice(&at.to_be_bytes());
            while protocols.send(&to, &name("/late/1"), Bytes::copy_from_slice(&body)) == Err(SendError::Busy) {
                loop {
                    match next(&mut at_a).await {
                        NativeEvent::News(News::Relieved { .. }) => break,
                        NativeEvent::News(News::Congested { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    });
    read_in_order(&mut at_b, count).await;
    sender.await.expect("sent all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_have_exactly_one_outcome() {
    let (a, b) = connected().await;
    let mut at_a = a.register("/echo/1");
    assert_eq!(a.ask(&b, "/echo/1", b"x").await, Err(AskError::Unsupported), "the peer has no handler");
    let mut at_b = b.register("/echo/1");
    assert_eq!(next(&mut at_a).await, supported(&b, "/echo/1"));
    let protocols = b.protocols.clone();
    tokio::spawn(async move {
        while let Some(event) = at_b.next().await {
            let NativeEvent::Batch(batch) = event else { continue };
            for item in batch.items {
                let Inbound::Request { token, body, .. } = item else { continue };
                match &body[..] {
                    b"refuse" => {
                        let failure = crate::wire::Failure { code: "no".into(), message: "never".into() };
                        protocols.respond(token, Err(failure));
                    }
                    b"leave" => protocols.unregister(&name("/echo/1")),
                    _ => assert!(protocols.respond(token, Ok(body))),
                }
                assert!(!protocols.respond(token, Ok(Bytes::new())), "once only");
            }
        }
    });
    assert_eq!(a.ask(&b, "/echo/1", b"hello").await, Ok(Bytes::from_static(b"hello")));
    assert!(matches!(a.ask(&b, "/echo/1", b"refuse").await, Err(AskError::Refused(_))));
    assert_eq!(a.ask(&b, "/echo/1", b"leave").await, Err(AskError::Unsupported));
    let TrafficStats { answered, failed, .. } = a.protocols.stats().traffic;
    assert_eq!((answered, failed), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_leave_together_come_to_whoever_asked_once_each() {
    let (a, b) = connected().await;
    let ids = ["/one/1", "/two/1"];
    let mut at_a = ids.map(|id| a.register(id));
    let mut at_b = ids.map(|id| b.register(id));
    for (inbox, id) in at_a.iter_mut().zip(ids) {
        assert_eq!(next(inbox).await, supported(&b, id));
    }
    let bodies: [&'static [u8]; 4] = [b"1", b"2", b"3", b"4"];
    let asked = async {
        tokio::join!(
            a.ask(&b, ids[0], bodies[0]),
            a.ask(&b, ids[1], bodies[1]),
            a.ask(&b, ids[0], bodies[2]),
            a.ask(&b, ids[1], bodies[3])
        )
    };
    let answered = async {
        let mut answers = Vec::new();
        for inbox in &mut at_b {
            let mut of_one = 0;
            while of_one < 2 {
                let NativeEvent::Batch(batch) = next(inbox).await else { continue };
                for item in batch.items {
                    let Inbound::Request { token, body, .. } = item else { panic!("{item:?}") };
                    answers.push((token, Ok(body)));
                    of_one += 1;
                }
            }
        }
        // Of both protocols in turns, with one that is answered twice and one that nobody asked.
        answers.swap(1, 2);
        answers.push((answers[0].0, Ok(Bytes::from_static(b"again"))));
        answers.push((RequestToken(u64::MAX), Ok(Bytes::new())));
        b.protocols.respond_all(answers);
    };
    let (asked, ()) = tokio::join!(asked, answered);
    let heard: [Result<Bytes, AskError>; 4] = asked.into();
    assert_eq!(heard, bodies.map(|body| Ok(Bytes::from_static(body))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unregistered_protocol_fails_sends_and_a_new_registration_hears_nothing_of_the_old() {
    let (a, b) = connected().await;
    let (mut at_a, mut at_b) = (a.register("/p/1"), b.register("/p/1"));
    assert_eq!(next(&mut at_a).await, supported(&b, "/p/1"));
    assert_eq!(next(&mut at_b).await, supported(&a, "/p/1"));
    for _ in 0..1000 {
        a.protocols.send(&b.address.peer, &name("/p/1"), Bytes::from_static(b"for the first")).expect("room");
    }
    b.protocols.unregister(&name("/p/1"));
    let mut second = b.register("/p/1");
    assert_eq!(next(&mut second).await, supported(&a, "/p/1"));
    let mut lost = 0;
    loop {
        match next(&mut at_a).await {
            NativeEvent::News(News::Undelivered { messages, .. }) => lost += messages,
            event if event == supported(&b, "/p/1") => break,
            event if event == unsupported(&b, "/p/1") => {}
            // A stream may be stopped as unregistered before the peer's set says so.
            NativeEvent::News(News::Congested { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    a.protocols.send(&b.address.peer, &name("/p/1"), Bytes::from_static(b"for the second")).expect("room");
    loop {
        match next(&mut second).await {
            NativeEvent::Batch(batch) => {
                assert_eq!(batch.items, [Inbound::Message(Bytes::from_static(b"for the second"))]);
                break;
            }
            NativeEvent::News(_) => {}
        }
    }
    let mut taken = 0;
    while let Ok(Some(event)) = timeout(Duration::from_millis(200), at_b.next()).await {
        if let NativeEvent::Batch(batch) = event {
            taken += batch.items.len() as u64;
        }
    }
    while let Ok(Some(event)) = timeout(Duration::from_millis(200), at_a.next()).await {
        if let NativeEvent::News(News::Undelivered { messages, .. }) = event {
            lost += messages;
        }
    }
    // What sat in the old inbox was purged with it, so "at most": never lost and uncounted on the wire.
    assert!(taken + lost <= 1000 + 1, "{taken} taken, {lost} lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_is_told_and_its_asks_end() {
    let (a, b) = connected().await;
    let (mut at_a, _at_b) = (a.register("/p/1"), b.register("/p/1"));
    assert_eq!(next(&mut at_a).await, supported(&b, "/p/1"));
    let (ask, ()) = tokio::join!(a.ask(&b, "/p/1", b"never answered"), async {
        b.connections.close(a.address.peer, CloseCode::Removed).await;
    });
    assert_eq!(ask, Err(AskError::NotConnected));
    assert_eq!(next(&mut at_a).await, unsupported(&b, "/p/1"));
    assert_eq!(a.protocols.lane(&b.address.peer, &name("/p/1")), Err(SendError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_handler_gets_what_comes_next_and_no_peer_notices() {
    let (a, b) = connected().await;
    let (mut at_a, mut at_b) = (a.register("/p/1"), b.register("/p/1"));
    assert_eq!(next(&mut at_a).await, supported(&b, "/p/1"));
    assert_eq!(next(&mut at_b).await, supported(&a, "/p/1"));
    let (handler, mut second) = native(8);
    b.protocols.replace(&name("/p/1"), "second", handler).expect("registered");
    assert_eq!(next(&mut second).await, supported(&a, "/p/1"));
    a.protocols.send(&b.address.peer, &name("/p/1"), Bytes::from_static(b"x")).expect("room");
    assert!(matches!(next(&mut second).await, NativeEvent::Batch(_)));
    assert!(timeout(Duration::from_millis(50), at_a.next()).await.is_err(), "nothing was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_that_never_read_hold_up_nobody_and_hear_what_is_true_in_the_end() {
    let node = Node::start();
    let (mut inbox, mut news) = (node.register("/p/1"), node.protocols.subscribe());
    let others: Vec<_> = (0..8).map(|_| Node::start()).collect();
    let _inboxes: Vec<_> = others.iter().map(|other| other.register("/p/1")).collect();
    for other in &others {
        timeout(Duration::from_secs(5), other.connections.dial(node.address))
            .await
            .expect("at once")
            .expect("admitted");
    }
    let (gone, left) = others.split_at(4);
    for other in gone {
        node.connections.close(other.address.peer, CloseCode::Removed).await;
    }
    let mut expected: Vec<_> = left.iter().map(|other| other.address.peer).collect();
    expected.sort();
    let settled = async {
        while node.protocols.peers_supporting(&[name("/p/1")]) != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), settled).await.expect("all decided");
    // Nobody has read anything so far. Who came and went meanwhile is not told; the others are, each once.
    let mut told = Vec::new();
    for _ in left {
        let NativeEvent::News(News::Supported { peer, .. }) = next(&mut inbox).await else { panic!("no welcome") };
        told.push(peer);
    }
    assert_eq!(told, expected);
    assert!(timeout(Duration::from_millis(50), inbox.next()).await.is_err(), "nothing else is told");
    for peer in expected {
        assert_eq!(news.next().await, Some(PeerNews::Connected(peer)));
        assert_eq!(news.next().await, Some(PeerNews::Gained { peer, protocol: name("/p/1") }));
    }
    assert!(timeout(Duration::from_millis(50), news.next()).await.is_err(), "nothing else is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_each_protocol_go_before_its_peer() {
    let (a, b) = connected().await;
    let mut news = a.protocols.subscribe();
    let peer = b.address.peer;
    let of = |id: &str| name(id);
    assert_eq!(news.next().await, Some(PeerNews::Connected(peer)));
    // What the peer supports is told whether or not it is registered here.
    let _first = b.register("/x/1");
    assert_eq!(news.next().await, Some(PeerNews::Gained { peer, protocol: of("/x/1") }));
    let _second = b.register("/y/1");
    assert_eq!(news.next().await, Some(PeerNews::Gained { peer, protocol: of("/y/1") }));
    b.protocols.unregister(&of("/x/1"));
    assert_eq!(news.next().await, Some(PeerNews::Lost { peer, protocol: of("/x/1") }));
    a.connections.close(peer, CloseCode::Removed).await;
    assert_eq!(news.next().await, Some(PeerNews::Lost { peer, protocol: of("/y/1") }));
    assert_eq!(news.next().await, Some(PeerNews::Gone(peer)));
}
