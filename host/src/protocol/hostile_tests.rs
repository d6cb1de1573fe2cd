//! Peers that say what they should not, when they should not, or nothing at all: each is answered by the rules of the
//! wire, and nothing else is touched.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::{MAX_RETRIES, PUSH_TIMEOUT};
use super::testing::*;
use super::*;
use crate::connection::ConnectionId;
use crate::wire::{CloseCode, Control, Hello, MAX_PROTOCOLS, SetChange, StopCode, StreamOutcome};

/// The incarnations of the manager and of the peer that the test plays.
const OURS: u64 = 10;
const THEIRS: u64 = 20;

fn added(base: u64, id: &str, registration: u64) -> SetChange {
    SetChange::Difference { base, added: vec![entry(id, registration)], removed: vec![] }
}

#[tokio::test]
async fn a_message_for_a_protocol_that_nobody_registered_ends_its_stream_and_nothing_else() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/here/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![entry("/here/1", 1)])).await;
    for (registration, lane) in [(0, 1), (7, 2), (u64::MAX, 3)] {
        let stream = peer.message(registration, 1, lane, b"to nobody").await;
        assert_eq!(peer.ended(stream.id()).await, (0, stopped(StopCode::Unregistered)));
    }
    assert_eq!(node.protocols.stats().unregistered, 3);
    let stream = peer.message(1, 1, 4, b"to somebody").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"to somebody")]);
    assert_eq!(peer.ended(stream.id()).await, (1, StreamOutcome::Finished));
}

#[tokio::test]
async fn data_that_overtakes_its_registration_waits_for_it() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/late/1");
    let peer = Puppet::connect(&node, 1, hello(THEIRS, 4, vec![])).await;
    let _stream = peer.message(1, 5, 1, b"early").await;
    until("the stream is there", || node.protocols.receive_stats().streams == 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), inbox.next()).await.is_err(), "nothing is told yet");
    peer.push(&node, 5, added(4, "/late/1", 5));
    assert_eq!(next(&mut inbox).await, supported(peer.theirs.handle.peer, "/late/1"));
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"early")]);
    assert_eq!(node.protocols.stats().out_of_sequence, 0);
}

#[tokio::test]
async fn data_whose_registration_never_comes_is_stopped_in_time() {
    let node = Side::impatient(OURS, Duration::from_millis(50));
    let _inbox = node.register("/never/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 4, vec![])).await;
    let stream = peer.message(1, 5, 1, b"early").await;
    assert_eq!(peer.ended(stream.id()).await, (0, stopped(StopCode::OutOfSequence)));
    assert_eq!(node.protocols.stats().out_of_sequence, 1);
    assert_eq!(node.protocols.receive_stats().streams, 0);
}

#[tokio::test]
async fn data_that_trails_its_senders_unregistration_never_reaches_the_next_registration() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/p/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 2, vec![entry("/p/1", 2)])).await;
    // It unregistered at 3 and registered anew at 4; what it opened at 2 and 3 is of the first registration.
    let change = SetChange::Difference { base: 2, added: vec![entry("/p/1", 4)], removed: vec![2] };
    peer.push(&node, 4, change);
    for (sequence, lane) in [(2, 1), (3, 2)] {
        let stream = peer.message(1, sequence, lane, b"of the first").await;
        assert_eq!(peer.ended(stream.id()).await, (0, stopped(StopCode::Unregistered)));
    }
    let _stream = peer.message(1, 4, 3, b"of the second").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"of the second")]);
}

#[tokio::test]
async fn a_stream_that_is_open_ends_with_the_registration_of_either_side() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/p/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![entry("/p/1", 1)])).await;
    let who = peer.theirs.handle.peer;
    let mut open = peer.open(1, 1, 1, b"of the first").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"of the first")]);
    // It says that it has unregistered, and goes on all the same.
    peer.push(&node, 2, SetChange::Difference { base: 1, added: vec![], removed: vec![1] });
    let _ = open.write(&mut [frame(b"from beyond")]).await;
    assert_eq!(peer.ended(open.id()).await, (1, stopped(StopCode::Unregistered)));
    peer.push(&node, 3, added(2, "/p/1", 3));
    assert_eq!(next(&mut inbox).await, unsupported(who, "/p/1"));
    assert_eq!(next(&mut inbox).await, supported(who, "/p/1"));
    let open = peer.open(1, 3, 2, b"of the second").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"of the second")]);
    node.protocols.unregister(&name("/p/1"));
    assert_eq!(peer.ended(open.id()).await, (1, stopped(StopCode::Unregistered)));
    assert_eq!(next(&mut inbox).await, unsupported(who, "/p/1"));
    until("both are counted", || node.protocols.stats().cut == 2).await;
}

#[tokio::test]
async fn data_that_trails_our_unregistration_never_reaches_the_next_handler() {
    let node = Side::near(OURS);
    drop(node.register("/p/1"));
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![entry("/p/1", 1)])).await;
    node.protocols.unregister(&name("/p/1"));
    let mut second = node.register("/p/1");
    let stream = peer.message(1, 1, 1, b"for the first").await;
    assert_eq!(peer.ended(stream.id()).await, (0, stopped(StopCode::Unregistered)));
    let _stream = peer.message(3, 1, 2, b"for the second").await;
    assert_eq!(next_messages(&mut second).await, [Bytes::from_static(b"for the second")]);
}

#[tokio::test]
async fn acknowledgements_that_come_twice_or_late_change_nothing() {
    let node = Side::near(OURS);
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 0, vec![])).await;
    let _first = node.register("/a/1");
    assert_eq!(peer.pushed().await, (1, added(0, "/a/1", 1)));
    peer.acknowledge(&node, 1);
    for _ in 0..1000 {
        peer.acknowledge(&node, 1);
        peer.acknowledge(&node, 0);
    }
    assert_eq!(peer.unread(), []);
    let _second = node.register("/b/1");
    assert_eq!(peer.pushed().await, (2, added(1, "/b/1", 2)));
    // Late: it says nothing about the second push, and the third change still waits for that.
    peer.acknowledge(&node, 0);
    let _third = node.register("/c/1");
    assert_eq!(peer.unread(), []);
    peer.acknowledge(&node, 2);
    assert_eq!(peer.pushed().await, (3, added(2, "/c/1", 3)));
    peer.acknowledge(&node, 3);
    let exchange = node.protocols.stats().exchange;
    assert_eq!((exchange.pushes, exchange.acknowledged, exchange.redundant), (3, 3, 2001));
    assert_eq!((exchange.coalesced, exchange.resent, exchange.given_up), (1, 0, 0));
}

#[tokio::test]
async fn an_acknowledgement_of_less_brings_the_full_set_once_and_then_only_time_does() {
    let node = Side::near(OURS);
    let _all = ["/a/1", "/b/1"].map(|id| node.register(id));
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 0, vec![])).await;
    let _third = node.register("/c/1");
    assert_eq!(peer.pushed().await, (3, added(2, "/c/1", 3)));
    peer.acknowledge(&node, 2);
    let full = SetChange::Full { protocols: vec![entry("/a/1", 1), entry("/b/1", 2), entry("/c/1", 3)] };
    assert_eq!(peer.pushed().await, (3, full));
    for _ in 0..1000 {
        peer.acknowledge(&node, 2);
    }
    assert_eq!(peer.unread(), [], "a wrong answer costs the peer's time, not ours");
    node.later(PUSH_TIMEOUT + Duration::from_secs(1));
    assert_eq!(peer.unread().len(), 1);
}

#[tokio::test]
async fn an_acknowledgement_of_what_is_still_to_come_closes_the_connection() {
    let node = Side::near(OURS);
    let _inbox = node.register("/a/1");
    let peer = Puppet::connect(&node, 1, hello(THEIRS, 0, vec![])).await;
    peer.acknowledge(&node, 2);
    assert!(peer.is_closed_with(CloseCode::ProtocolViolation).await);
    assert_eq!(node.protocols.stats().exchange.given_up, 1);
}

#[tokio::test]
async fn a_peer_that_never_acknowledges_is_asked_three_times_and_left_with_nothing_behind() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/a/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![entry("/a/1", 1)])).await;
    let who = peer.theirs.handle.peer;
    assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
    let _b = node.register("/b/1");
    assert_eq!(peer.pushed().await.0, 2);
    let step = PUSH_TIMEOUT + Duration::from_secs(1);
    for retry in 1..=MAX_RETRIES {
        // What changes meanwhile goes along.
        node.protocols.unregister(&name("/b/1"));
        drop(node.register("/b/1"));
        assert_eq!(peer.unread(), []);
        node.later(step * retry);
        let (sequence, change) = peer.pushed().await;
        assert_eq!(sequence, 2 + 2 * u64::from(retry));
        assert!(matches!(change, SetChange::Full { protocols } if protocols.len() == 2));
    }
    node.later(step * (MAX_RETRIES + 1));
    assert!(peer.is_closed_with(CloseCode::ControlStalled).await);
    node.down(&peer.theirs, true);
    assert_eq!(next(&mut inbox).await, unsupported(who, "/a/1"));
    let stats = node.protocols.stats();
    assert_eq!((stats.connections, stats.exchange.resent, stats.exchange.given_up), (0, 3, 1));
    assert_eq!(node.protocols.peer_protocols(&who), []);
    node.tasks.close();
    until("the tasks of the connection end", || node.tasks.is_empty()).await;
}

#[tokio::test]
async fn a_storm_of_changes_becomes_one_further_push() {
    let node = Side::near(OURS);
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 0, vec![])).await;
    let _first = node.register("/first/1");
    assert_eq!(peer.pushed().await.0, 1);
    let _inboxes: Vec<_> = (0..120).map(|at| node.register(&format!("/storm-{at}/1"))).collect();
    for at in 0..60 {
        node.protocols.unregister(&name(&format!("/storm-{at}/1")));
    }
    assert_eq!(peer.unread(), []);
    peer.acknowledge(&node, 1);
    let (sequence, change) = peer.pushed().await;
    assert_eq!(sequence, 181);
    let SetChange::Difference { base: 1, added, removed } = change else { panic!("{change:?}") };
    assert_eq!((added.len(), removed.len()), (60, 0), "what came and went is not told");
    peer.acknowledge(&node, 181);
    assert_eq!(peer.unread(), []);
    let exchange = node.protocols.stats().exchange;
    assert_eq!((exchange.pushes, exchange.coalesced, exchange.entries), (2, 180, 61));
}

#[tokio::test]
async fn pushes_that_come_twice_out_of_order_or_to_another_base_are_answered_with_what_is_applied() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/a/1");
    let mut peer = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![])).await;
    let who = peer.theirs.handle.peer;
    peer.push(&node, 3, added(2, "/a/1", 3));
    assert_eq!(peer.acknowledged().await, 1, "another base");
    peer.push(&node, 3, SetChange::Full { protocols: vec![entry("/a/1", 3)] });
    assert_eq!(peer.acknowledged().await, 3);
    assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
    peer.push(&node, 3, SetChange::Full { protocols: vec![] });
    assert_eq!(peer.acknowledged().await, 3, "twice");
    peer.push(&node, 2, SetChange::Full { protocols: vec![] });
    assert_eq!(peer.acknowledged().await, 3, "late");
    assert_eq!(node.protocols.peer_protocols(&who), [name("/a/1")]);
    node.control(&peer.theirs, Control::Protocols { incarnation: 99, sequence: 9, change: added(3, "/b/1", 9) });
    assert_eq!(peer.unread(), [], "of another incarnation");
    let exchange = node.protocols.stats().exchange;
    assert_eq!((exchange.applied, exchange.outdated, exchange.other_base, exchange.stale), (1, 2, 1, 1));
}

#[tokio::test]
async fn sets_without_a_limit_in_number_or_length_close_the_connection() {
    let many = |from: u64| -> Vec<_> { (from..from + 1024).map(|at| entry(&format!("/p-{at}/1"), at)).collect() };
    let long = format!("/{}/1", "x".repeat(126));
    let bad: [SetChange; 4] = [
        SetChange::Difference { base: 1024, added: vec![entry("/one-more/1", 1025)], removed: vec![] },
        SetChange::Full { protocols: vec![entry(&long, 1)] },
        SetChange::Full { protocols: vec![entry("/twice/1", 1), entry("/twice/1", 2)] },
        SetChange::Full { protocols: vec![entry("/of-the-future/1", 2000)] },
    ];
    for (at, change) in bad.into_iter().enumerate() {
        let node = Side::near(OURS);
        let mut peer = Puppet::connect(&node, at as u64, hello(THEIRS, 1024, many(1))).await;
        let who = peer.theirs.handle.peer;
        assert_eq!(node.protocols.peer_protocols(&who).len(), MAX_PROTOCOLS);
        peer.push(&node, 1025, change);
        assert!(peer.is_closed_with(CloseCode::ProtocolViolation).await);
        assert_eq!(peer.unread(), []);
        assert_eq!(node.protocols.peer_protocols(&who).len(), MAX_PROTOCOLS, "nothing was applied");
        assert_eq!(node.protocols.stats().exchange.violations, 1);
    }
}

#[tokio::test]
async fn two_connections_of_a_peer_are_one_peer_with_one_set() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/a/1");
    let mut news = node.protocols.subscribe();
    let mut first = Puppet::connect(&node, 1, hello(THEIRS, 1, vec![])).await;
    let mut second = Puppet::connect(&node, 2, hello(THEIRS, 1, vec![])).await;
    let who = first.theirs.handle.peer;
    // A stream on the first waits for the set that comes by the second.
    let _stream = first.message(1, 2, 1, b"over the first").await;
    second.push(&node, 2, added(1, "/a/1", 2));
    assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"over the first")]);
    first.push(&node, 2, added(1, "/a/1", 2));
    assert_eq!((first.acknowledged().await, second.acknowledged().await), (2, 2));
    // A change of ours goes to both, and each acknowledges by itself.
    let _b = node.register("/b/1");
    assert_eq!((first.pushed().await.0, second.pushed().await.0), (2, 2));
    second.acknowledge(&node, 2);
    let _c = node.register("/c/1");
    assert_eq!((first.unread(), second.pushed().await), (vec![], (3, added(2, "/c/1", 3))));
    // An older hello on a further connection takes nothing back.
    let third = Puppet::connect(&node, 3, hello(THEIRS, 1, vec![])).await;
    node.down(&first.theirs, false);
    node.down(&third.theirs, false);
    let _stream = second.message(1, 2, 2, b"over the second").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"over the second")]);
    node.down(&second.theirs, true);
    assert_eq!(next(&mut inbox).await, unsupported(who, "/a/1"));
    let told = tokio::time::timeout(Duration::from_millis(20), news.next()).await;
    assert!(told.is_err(), "it came and went unread: {told:?}");
}

#[tokio::test]
async fn a_peer_that_restarts_in_mid_push_starts_anew() {
    let node = Side::near(OURS);
    let mut inbox = node.register("/a/1");
    let mut before = Puppet::connect(&node, 1, hello(THEIRS, 5, vec![entry("/a/1", 5)])).await;
    let who = before.theirs.handle.peer;
    assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
    let _b = node.register("/b/1");
    assert_eq!(before.pushed().await.0, 2);
    // It is gone before it acknowledges, and a stream of it still waits for a set that will never come.
    let _waits = before.message(1, 6, 1, b"of the past").await;
    until("the stream is there", || node.protocols.receive_stats().streams == 1).await;
    let mut after = Puppet::connect(&node, 2, hello(THEIRS + 1, 1, vec![entry("/a/1", 1)])).await;
    assert_eq!(next(&mut inbox).await, unsupported(who, "/a/1"));
    assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
    // Whatever the ghost still says is of another incarnation.
    before.acknowledge(&node, 2);
    before.push(&node, 6, SetChange::Full { protocols: vec![] });
    let _late = before.message(1, 5, 2, b"of the past").await;
    assert_eq!(node.protocols.peer_protocols(&who), [name("/a/1")]);
    let _stream = after.message(1, 1, 1, b"of the present").await;
    assert_eq!(next_messages(&mut inbox).await, [Bytes::from_static(b"of the present")]);
    // The hello that it got carried the set as of then, so only what changes from now on is pushed.
    let _c = node.register("/c/1");
    assert_eq!(after.pushed().await, (3, added(2, "/c/1", 3)));
    node.down(&before.theirs, false);
    assert_eq!(node.protocols.peer_protocols(&who), [name("/a/1")]);
    assert_eq!(node.protocols.stats().connections, 1);
    assert!(node.protocols.inner.core.lock().expect("no panic").links.contains_key(&ConnectionId(2)));
}

/// The registration numbers of a restarted peer begin anew, so what was queued for its predecessor must not even be
/// written: the same number may be another protocol's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_for_a_peer_is_never_written_to_its_next_incarnation() {
    for round in 0..40 {
        let node = Side::near(OURS);
        let mut inbox = node.register("/a/1");
        // It lets nothing be sent, so the message waits for a stream.
        let past = Hello { max_streams: 0, ..hello(THEIRS, 1, vec![entry("/a/1", 1)]) };
        let before = Puppet::connect(&node, 1, past).await;
        let who = before.theirs.handle.peer;
        assert_eq!(next(&mut inbox).await, supported(who, "/a/1"));
        assert_eq!(node.protocols.send(&who, &name("/a/1"), Bytes::from_static(b"of the past")), Ok(()));
        let mut after = Puppet::connect(&node, 2, hello(THEIRS + 1, 1, vec![entry("/b/1", 1)])).await;
        let undelivered = News::Undelivered { peer: who, protocol: name("/a/1"), messages: 1 };
        assert_eq!(next(&mut inbox).await, NativeEvent::News(undelivered));
        assert_eq!(next(&mut inbox).await, unsupported(who, "/a/1"));
        let stream = tokio::time::timeout(Duration::from_millis(10), after.streams.accept_receive_stream()).await;
        assert!(stream.is_err(), "{stream:?} in round {round}");
    }
}
