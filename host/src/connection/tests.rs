//! Managers on loopback, over real QUIC.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::identity::NodeKey;
use crate::peer::PeerAddr;
use crate::runtime::Runtime;
use crate::transport::{Transport, TransportConfig};
use crate::wire::{AddressRecord, CloseCode, SignedAddressRecord};

#[path = "limits_tests.rs"]
mod limits;

/// Longer than any deadline of the manager.
const PATIENCE: Duration = Duration::from_secs(12);

struct Protocols;

impl LocalHello for Protocols {
    fn protocols(&self) -> (u64, Vec<ProtocolEntry>) {
        (7, vec![ProtocolEntry { id: "/test/1".into(), registration: 3, max_message: 100 }])
    }
}

struct Node {
    manager: ConnectionManager,
    events: mpsc::Receiver<ConnectionEvent>,
    transport: Transport,
    address: PeerAddr,
}

fn transport(key: Arc<NodeKey>) -> (Transport, crate::transport::Incoming) {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Transport::bind(TransportConfig::new(key, listen)).expect("binds")
}

fn new_key() -> Arc<NodeKey> {
    let runtime = Runtime::system().expect("random numbers");
    Arc::new(NodeKey::generate(&*runtime.entropy))
}

fn start(key: Arc<NodeKey>, max_peers: usize) -> Node {
    start_with(key, ConnectionLimits { max_peers, ..ConnectionLimits::default() })
}

fn start_with(key: Arc<NodeKey>, limits: ConnectionLimits) -> Node {
    let runtime = Runtime::system().expect("random numbers");
    let (transport, incoming) = transport(key.clone());
    let address = PeerAddr { peer: key.peer_id(), address: transport.local_address() };
    let (sender, events) = mpsc::channel(64);
    let mut config = ConnectionConfig::new(64, &runtime);
    config.limits = limits;
    let record = AddressRecord {
        peer: *key.peer_id().as_bytes(),
        sequence: 1,
        expires_unix_ms: u64::MAX,
        addresses: vec![address.address],
    };
    config.address = Some(Arc::new(move || Some(SignedAddressRecord::sign(&record, |bytes| key.sign(bytes)))));
    let manager = ConnectionManager::start(config, transport.clone(), incoming, Arc::new(Protocols), &runtime, sender);
    Node { manager, events, transport, address }
}

impl Node {
    async fn event(&mut self) -> ConnectionEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("in time").expect("the manager runs")
    }

    /// The next event must be an `Up` of the given peer's first connection.
    async fn up(&mut self, of: &Node) -> ConnectionHandle {
        match self.event().await {
            ConnectionEvent::Up { connection, first: true, sent_sequence: 7, hello, address, .. } => {
                assert_eq!(connection.peer, of.address.peer);
                assert_eq!((hello.sequence, hello.protocols.len()), (7, 1));
                assert_eq!(address.map(|record| record.addresses), Some(vec![of.address.address]));
                connection
            }
            other => panic!("{other:?}"),
        }
    }

    async fn down(&mut self) -> LinkError {
        match self.event().await {
            ConnectionEvent::Down { cause, last: true, .. } => cause,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_admit_and_talk_on_the_control_stream() {
    let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
    let id = a.manager.dial(b.address).await.expect("admitted");
    let at_a = a.up(&b).await;
    let at_b = b.up(&a).await;
    assert_eq!((at_a.id, a.manager.status().await.counts.admitted), (id, 1));
    for stream in 0..1000 {
        at_a.control.send(Control::Abandon { stream });
        if stream % 50 == 0 {
            let got = b.event().await;
            assert!(
                matches!(got, ConnectionEvent::Control { connection, message: Control::Abandon { .. }, .. } if connection == at_b.id)
            );
        } else {
            let _ = b.event().await;
        }
    }
    assert_eq!(a.manager.dial(b.address).await, Err(DialFailure::AlreadyConnected));
    let seen = b.manager.peers().await;
    assert_eq!((seen.len(), seen[0].peer, seen[0].connections.len()), (1, a.address.peer, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_refuses_and_says_which_limit() {
    let (a, b, c) = (start(new_key(), 4), start(new_key(), 4), start(new_key(), 1));
    a.manager.dial(c.address).await.expect("admitted");
    let reason = "node has 1 of 1 peers; raise `limits.max_peers`".to_owned();
    let refused = DialFailure::Refused { code: CloseCode::Full, reason };
    assert_eq!(b.manager.dial(c.address).await, Err(refused));
    assert_eq!(b.manager.status().await.peers, 0);
    assert_eq!(c.manager.status().await.counts.refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simultaneous_dial_ends_in_one_connection() {
    for round in 0..20 {
        let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
        let (from_a, from_b) = tokio::join!(a.manager.dial(b.address), b.manager.dial(a.address));
        assert!(from_a.is_ok() || from_a == Err(DialFailure::AlreadyConnected), "{round}: {from_a:?}");
        assert!(from_b.is_ok() || from_b == Err(DialFailure::AlreadyConnected), "{round}: {from_b:?}");
        let (at_a, at_b) = (a.up(&b).await, b.up(&a).await);
        assert_ne!(at_a.direction, at_b.direction, "{round}: the two sides hold different connections");
        // The one connection carries messages both ways; nothing else came up.
        at_a.control.send(Control::Abandon { stream: 1 });
        at_b.control.send(Control::Abandon { stream: 2 });
        assert!(matches!(a.event().await, ConnectionEvent::Control { message: Control::Abandon { stream: 2 }, .. }));
        assert!(matches!(b.event().await, ConnectionEvent::Control { message: Control::Abandon { stream: 1 }, .. }));
        assert_eq!(a.manager.connections(&b.address.peer).await.len(), 1);
        a.manager.shutdown(Duration::ZERO).await;
        b.manager.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_peer_that_comes_back_replaces_its_ghost_within_a_second() {
    let key = new_key();
    let mut b = start(new_key(), 1);
    // The first life of the peer does not end, as seen from `b`: it only comes back beside itself.
    let mut first_life = start(key.clone(), 1);
    first_life.manager.dial(b.address).await.expect("admitted");
    b.up(&first_life).await;
    first_life.up(&b).await;
    let second_life = start(key, 1);
    timeout(Duration::from_secs(1), second_life.manager.dial(b.address)).await.expect("in time").expect("admitted");
    assert!(matches!(b.down().await, LinkError::Closed { code: CloseCode::Replaced, local: true }));
    b.up(&second_life).await;
    assert!(matches!(first_life.down().await, LinkError::Closed { code: CloseCode::Replaced, local: false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_times_out_while_others_are_admitted() {
    let b = start(new_key(), 4);
    let (silent, _incoming) = transport(new_key());
    let mut mute = silent.dial(b.address).await.expect("the handshake is done");
    let mut half = silent.dial(b.address).await.expect("the handshake is done");
    let mut stream = half.handle.open_control_stream().await.expect("opens");
    // The first byte of a long frame, and nothing more.
    stream.send.write(&mut [bytes::Bytes::from_static(&[0x80])]).await.expect("writes");
    let a = start(new_key(), 4);
    timeout(Duration::from_secs(2), a.manager.dial(b.address)).await.expect("not held up").expect("admitted");
    for link in [&mut mute, &mut half] {
        let end = timeout(PATIENCE, link.acceptor.accept_receive_stream()).await.expect("in time");
        assert_eq!(end.err(), Some(LinkError::Closed { code: CloseCode::HelloTimeout, local: false }));
    }
    assert_eq!(b.manager.status().await.counts.hello_timeouts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_control_stream_closes_only_its_connection() {
    let b = start(new_key(), 4);
    let (rude, _incoming) = transport(new_key());
    for garbage in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x01\x0c", b"\x05GET / HTTP/1.1\r\n\r\n"] {
        let mut link = rude.dial(b.address).await.expect("the handshake is done");
        let mut stream = link.handle.open_control_stream().await.expect("opens");
        stream.send.write(&mut [bytes::Bytes::copy_from_slice(garbage)]).await.expect("writes");
        let end = timeout(PATIENCE, link.acceptor.accept_receive_stream()).await.expect("in time");
        assert_eq!(end.err(), Some(LinkError::Closed { code: CloseCode::ProtocolViolation, local: false }));
    }
    let a = start(new_key(), 4);
    a.manager.dial(b.address).await.expect("admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deliberate_close_drains_and_delivers_its_code() {
    let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
    a.manager.dial(b.address).await.expect("admitted");
    let (at_a, at_b) = (a.up(&b).await, b.up(&a).await);
    a.manager.close(b.address.peer, CloseCode::Removed).await;
    assert!(matches!(a.event().await, ConnectionEvent::Draining { .. }));
    assert!(matches!(b.event().await, ConnectionEvent::Draining { .. }));
    // Still open: control messages pass until both have finished.
    at_b.control.send(Control::Abandon { stream: 5 });
    assert!(matches!(a.event().await, ConnectionEvent::Control { .. }));
    at_a.drained();
    at_b.drained();
    assert_eq!(a.down().await, LinkError::Closed { code: CloseCode::Removed, local: true });
    assert_eq!(b.down().await, LinkError::Closed { code: CloseCode::Removed, local: false });
    assert_eq!((a.manager.peers().await.len(), b.manager.peers().await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_ones_own_are_typed_failures() {
    let (a, b) = (start(new_key(), 4), start(new_key(), 4));
    let expected = new_key().peer_id();
    let wrong = PeerAddr { peer: expected, ..b.address };
    let failure = DialFailure::WrongPeer { address: b.address.address, expected, found: b.address.peer };
    assert_eq!(a.manager.dial(wrong).await, Err(failure));
    let own = a.manager.dial(a.address).await;
    assert!(matches!(own, Err(DialFailure::NotAdmitted { code: CloseCode::SelfDial, .. })), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_drains_all_and_lets_nobody_in() {
    let (mut a, mut b, c) = (start(new_key(), 4), start(new_key(), 4), start(new_key(), 4));
    a.manager.dial(b.address).await.expect("admitted");
    let (at_a, at_b) = (a.up(&b).await, b.up(&a).await);
    let manager = a.manager.clone();
    let stopping = tokio::spawn(async move { manager.shutdown(PATIENCE).await });
    assert!(matches!(a.event().await, ConnectionEvent::Draining { .. }));
    let refused = c.manager.dial(a.address).await;
    assert!(matches!(refused, Err(DialFailure::Refused { code: CloseCode::Shutdown, .. })), "{refused:?}");
    at_a.drained();
    at_b.drained();
    assert_eq!(a.down().await, LinkError::Closed { code: CloseCode::Shutdown, local: true });
    timeout(PATIENCE, stopping).await.expect("in time").expect("stops");
    assert_eq!(a.manager.dial(b.address).await, Err(DialFailure::Stopping));
    a.manager.shutdown(PATIENCE).await;
    assert!(a.transport.close(PATIENCE).await, "no task keeps an endpoint open");
}

#[tokio::test]
async fn one_span_with_peer_and_direction_is_around_a_connection_from_its_dial_to_its_end() {
    let said = crate::capture::Capture::default();
    let _listening = said.listen();
    let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
    let dialed = a.manager.dial(b.address).await.expect("admitted");
    let (at_a, at_b) = (a.up(&b).await, b.up(&a).await);
    a.manager.close(b.address.peer, CloseCode::Removed).await;
    at_a.drained();
    at_b.drained();
    let until = tokio::time::Instant::now() + PATIENCE;
    while said.named("connection ended").len() < 2 {
        assert!(tokio::time::Instant::now() < until, "both conversations end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dial =
        said.named("dialing").into_iter().find(|line| line.field("to").is_some()).expect("the dial of an address");
    let (id, peer) = (dialed.0.to_string(), b.address.peer.short().to_string());
    let around = |line: &crate::capture::Line| {
        ["id", "peer", "direction"].map(|name| line.in_span("connection", name).unwrap_or_default().to_owned())
    };
    assert_eq!(around(&dial), [id.clone(), peer.clone(), "Outbound".to_owned()]);
    let ended = said.named("connection ended");
    assert!(ended.iter().any(|line| around(line) == [id.clone(), peer.clone(), "Outbound".to_owned()]), "{ended:?}");
    assert!(ended.iter().any(|line| around(line)[2] == "Inbound"), "{ended:?}");
}
