//! Several connections of a peer, evictions, sources, access lists and ghosts, over real QUIC.

use std::collections::BTreeSet;

use super::*;
use crate::reached::{Reached, Scope};
use crate::transport::relay::{Cut, Relay};
use crate::transport::{AccessEntry, AccessLists, Direction};

fn limits(max_peers: usize, connections_per_peer: usize) -> ConnectionLimits {
    ConnectionLimits { max_peers, connections_per_peer, ..ConnectionLimits::default() }
}

fn blocks(entry: AccessEntry) -> AccessLists {
    AccessLists { block: [entry].into(), ..AccessLists::default() }
}

impl Node {
    /// The next event must be an `Up` beside another connection.
    async fn up_beside(&mut self) -> ConnectionHandle {
        match self.event().await {
            ConnectionEvent::Up { connection, first: false, .. } => connection,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_stands_beside_the_first_and_outlives_it() {
    let (mut a, mut b) = (start_with(new_key(), limits(4, 2)), start_with(new_key(), limits(4, 2)));
    assert_eq!(a.manager.dial_another(b.address.peer).await, Err(DialFailure::NotConnected));
    a.manager.dial(b.address).await.expect("admitted");
    let (first_at_a, _) = (a.up(&b).await, b.up(&a).await);
    let second = a.manager.dial_another(b.address.peer).await.expect("admitted beside");
    let (at_a, at_b) = (a.up_beside().await, b.up_beside().await);
    assert_eq!((at_a.id, at_a.direction), (second, Direction::Outbound));
    assert_eq!(a.manager.connections(&b.address.peer).await.len(), 2);
    let status = b.manager.status().await;
    assert_eq!((status.peers, status.most_of_one_peer, status.counts.replaced), (1, 2, 0));
    let full = Reached::new(Scope::Peer, "connections", 2, 2).key("limits.connections_per_peer", "raise");
    assert_eq!(full.to_string(), "peer has 2 of 2 connections; raise `limits.connections_per_peer`");
    let full = DialFailure::NotAdmitted { code: CloseCode::Full, refusal: Box::new(full.into()) };
    assert_eq!(a.manager.dial_another(b.address.peer).await, Err(full));
    // The first one ends; the peer is still there.
    first_at_a.link.close(CloseCode::Normal);
    for node in [&mut a, &mut b] {
        assert!(matches!(node.event().await, ConnectionEvent::Down { last: false, .. }));
    }
    at_b.control.send(Control::Abandon { stream: 5 });
    assert!(matches!(a.event().await, ConnectionEvent::Control { connection, .. } if connection == second));
    at_a.link.close(CloseCode::Normal);
    for node in [&mut a, &mut b] {
        assert!(matches!(node.event().await, ConnectionEvent::Down { last: true, .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_that_was_dialed_dials_one_more_where_the_hello_says() {
    let (mut a, mut b) = (start_with(new_key(), limits(4, 2)), start_with(new_key(), limits(4, 2)));
    a.manager.dial(b.address).await.expect("admitted");
    a.up(&b).await;
    b.up(&a).await;
    b.manager.dial_another(a.address.peer).await.expect("admitted beside");
    assert_eq!(
        (a.up_beside().await.direction, b.up_beside().await.direction),
        (Direction::Inbound, Direction::Outbound)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_one_connection_says_so_and_keeps_it() {
    let (mut a, mut b) = (start_with(new_key(), limits(4, 2)), start_with(new_key(), limits(4, 1)));
    a.manager.dial(b.address).await.expect("admitted");
    let (_, at_b) = (a.up(&b).await, b.up(&a).await);
    let reason = "peer has 1 of 1 connections; raise `limits.connections_per_peer`".to_owned();
    let refused = DialFailure::Refused { code: CloseCode::Full, reason };
    assert_eq!(a.manager.dial_another(b.address.peer).await, Err(refused));
    at_b.control.send(Control::Abandon { stream: 5 });
    assert!(matches!(a.event().await, ConnectionEvent::Control { .. }), "the first one lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_ask_for_one_more_at_once_and_get_it() {
    for round in 0..10 {
        let (mut a, mut b) = (start_with(new_key(), limits(4, 2)), start_with(new_key(), limits(4, 2)));
        a.manager.dial(b.address).await.expect("admitted");
        a.up(&b).await;
        b.up(&a).await;
        let (to_b, to_a) = (a.manager.dial_another(b.address.peer), b.manager.dial_another(a.address.peer));
        let (from_a, from_b) = tokio::join!(to_b, to_a);
        let full = |r: &Result<_, _>| {
            matches!(
                r,
                Err(DialFailure::NotAdmitted { code: CloseCode::Full, .. }
                    | DialFailure::Refused { code: CloseCode::Full, .. })
            )
        };
        assert!(from_a.is_ok() || full(&from_a), "{round}: {from_a:?}");
        assert!(from_b.is_ok() || full(&from_b), "{round}: {from_b:?}");
        assert_ne!(a.up_beside().await.direction, b.up_beside().await.direction, "{round}: one link, two ends");
        assert_eq!(a.manager.connections(&b.address.peer).await.len(), 2, "{round}");
        assert_eq!(a.manager.status().await.counts.ended, 0, "{round}: nothing that was up was lost");
        a.manager.shutdown(Duration::ZERO).await;
        b.manager.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_peer_whose_connections_look_alive_is_back_within_a_second() {
    let key = new_key();
    let mut b = start_with(new_key(), limits(1, 2));
    b.manager.set_level(key.peer_id(), Level::Necessary).await;
    let mut first_life = start_with(key.clone(), limits(1, 2));
    let relay = Relay::start(b.address.address).await.expect("a socket");
    first_life.manager.dial(PeerAddr { address: relay.address(), ..b.address }).await.expect("admitted");
    b.up(&first_life).await;
    first_life.up(&b).await;
    first_life.manager.dial_another(b.address.peer).await.expect("admitted beside");
    b.up_beside().await;
    first_life.up_beside().await;
    // From here on nothing of the first life reaches anybody: for `b` both of its connections are as before.
    relay.cut(Cut::Both);
    let second_life = start_with(key, limits(1, 2));
    timeout(Duration::from_secs(1), second_life.manager.dial(b.address)).await.expect("in time").expect("admitted");
    let replaced = LinkError::Closed { code: CloseCode::Replaced, local: true };
    for is_last in [false, true] {
        match b.event().await {
            ConnectionEvent::Down { cause, last, .. } => assert_eq!((cause, last), (replaced.clone(), is_last)),
            other => panic!("{other:?}"),
        }
    }
    b.up(&second_life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_evicted_drains_and_learns_why() {
    let fifo = ConnectionLimits { eviction: Eviction::Fifo, ..limits(1, 1) };
    let (mut a, mut b, c) = (start(new_key(), 4), start_with(new_key(), fifo), start(new_key(), 4));
    a.manager.dial(b.address).await.expect("admitted");
    let (at_a, at_b) = (a.up(&b).await, b.up(&a).await);
    c.manager.dial(b.address).await.expect("the oldest goes");
    assert!(matches!(a.event().await, ConnectionEvent::Draining { .. }));
    assert!(matches!(b.event().await, ConnectionEvent::Draining { .. }));
    b.up(&c).await;
    at_a.drained();
    at_b.drained();
    assert_eq!(a.down().await, LinkError::Closed { code: CloseCode::Evicted, local: false });
    assert_eq!((b.manager.status().await.counts.evicted, b.manager.status().await.peers), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_its_share_and_no_more() {
    let shared = ConnectionLimits { max_per_source: 1, limit_loopback: true, ..limits(4, 1) };
    let (a, b, c) = (start(new_key(), 4), start_with(new_key(), shared), start(new_key(), 4));
    a.manager.dial(b.address).await.expect("admitted");
    let refused = c.manager.dial(b.address).await;
    assert!(matches!(refused, Err(DialFailure::Refused { code: CloseCode::Full, .. })), "{refused:?}");
    let status = b.manager.status().await;
    assert_eq!((status.counts.turned_away, status.most_of_one_source), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_closes_what_is_open_and_keeps_it_out() {
    for by_key in [true, false] {
        let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
        a.manager.dial(b.address).await.expect("admitted");
        a.up(&b).await;
        b.up(&a).await;
        let entry = if by_key { AccessEntry::Peer(a.address.peer) } else { AccessEntry::Ip([127, 0, 0, 1].into()) };
        assert_eq!(b.manager.set_access(blocks(entry)).await, 1);
        assert_eq!(b.down().await, LinkError::Closed { code: CloseCode::Blocked, local: true });
        assert_eq!(a.down().await, LinkError::Closed { code: CloseCode::Blocked, local: false });
        let dialed = b.manager.dial(a.address).await;
        let denied = |r: &Result<_, _>| matches!(r, Err(DialFailure::NotAdmitted { code: CloseCode::Blocked, .. }));
        assert!(denied(&dialed), "{dialed:?}");
        if by_key {
            let refused = a.manager.dial(b.address).await;
            assert!(matches!(refused, Err(DialFailure::Refused { code: CloseCode::Blocked, .. })), "{refused:?}");
        }
        b.manager.set_access(AccessLists::default()).await;
        a.manager.dial(b.address).await.expect("let in again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_list_lets_in_whom_it_names_only() {
    let (a, b, c) = (start(new_key(), 4), start(new_key(), 4), start(new_key(), 4));
    let allow = [AccessEntry::Peer(a.address.peer)].into();
    b.manager.set_access(AccessLists { allow, ..AccessLists::default() }).await;
    a.manager.dial(b.address).await.expect("allowed");
    let refused = c.manager.dial(b.address).await;
    assert!(matches!(refused, Err(DialFailure::Refused { code: CloseCode::Blocked, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_migrates_to_a_blocked_address_is_closed() {
    let (mut a, mut b) = (start(new_key(), 4), start(new_key(), 4));
    b.manager.set_access(blocks(AccessEntry::Ip([127, 0, 0, 2].into()))).await;
    let relay = Relay::start(b.address.address).await.expect("a socket");
    a.manager.dial(PeerAddr { address: relay.address(), ..b.address }).await.expect("admitted");
    let (mut at_a, _) = (a.up(&b).await, b.up(&a).await);
    // To an address that nobody minds, and on to one that is blocked.
    for (ip, stays) in [([127, 0, 0, 3], true), ([127, 0, 0, 2], false)] {
        relay.move_to(ip);
        // Any packet tells where the peer is now: an acknowledgement may have been faster, and the end, too.
        let _ = at_a.link.ping();
        if stays {
            at_a.control.send(Control::Abandon { stream: 1 });
            assert!(matches!(b.event().await, ConnectionEvent::Control { .. }));
        }
    }
    assert_eq!(b.down().await, LinkError::Closed { code: CloseCode::Blocked, local: true });
    assert_eq!(b.manager.status().await.counts.denied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_listens_slowly_stalls_admission() {
    let runtime = Runtime::system().expect("random numbers");
    let (transport, incoming) = transport(new_key());
    let address = PeerAddr { peer: transport.peer_id(), address: transport.local_address() };
    // One event fits, and nobody takes it.
    let (sender, mut events) = mpsc::channel(1);
    let config = ConnectionConfig::new(64, &runtime);
    let manager = ConnectionManager::start(config, transport, incoming, Arc::new(Protocols), &runtime, sender);
    let others: Vec<Node> = (0..6).map(|_| start(new_key(), 4)).collect();
    for other in &others {
        timeout(Duration::from_secs(2), other.manager.dial(address)).await.expect("not held up").expect("admitted");
    }
    // One comes and goes before anybody was told of it.
    others[5].manager.shutdown(Duration::ZERO).await;
    let mut peers = manager.status().await.peers;
    let end = tokio::time::Instant::now() + PATIENCE;
    while peers > 5 && tokio::time::Instant::now() < end {
        tokio::task::yield_now().await;
        peers = manager.status().await.peers;
    }
    assert_eq!(peers, 5);
    // In any order: a dial has ended for the dialer while its last word is still on its way.
    let mut told = BTreeSet::new();
    for _ in 0..5 {
        match timeout(PATIENCE, events.recv()).await.expect("in time") {
            Some(ConnectionEvent::Up { connection, first: true, .. }) => told.insert(connection.peer),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(told, others[..5].iter().map(|other| other.address.peer).collect());
    manager.shutdown(Duration::ZERO).await;
    let rest = timeout(PATIENCE, events.recv()).await.expect("in time");
    assert!(
        matches!(rest, Some(ConnectionEvent::Down { .. }) | None),
        "nobody hears of the one that is gone: {rest:?}"
    );
}
