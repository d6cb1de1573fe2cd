//! A thousand protocols: registered, exchanged, asked for and changed one at a time.

use bytes::BytesMut;

use super::testing::*;
use super::*;
use crate::wire::{Control, SetChange, encode_control};

const MANY: usize = 1000;

fn register_many(side: &Side) -> Inbox {
    let (handler, inbox) = native(64);
    for at in 0..MANY {
        side.protocols.register(spec(&format!("/many-{at}/1")), "many", handler.clone()).expect("free");
    }
    inbox
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_protocols_are_exchanged_asked_for_and_changed_by_differences() {
    let (near, far) = (Side::near(1), Side::far(2));
    let (mut at_near, mut at_far) = (register_many(&near), register_many(&far));
    let (near_end, far_end) = join(&near, &far, 1).await;
    let _valves = carry((&near, near_end), (&far, far_end));
    for (inbox, peer) in [(&mut at_near, far.peer), (&mut at_far, near.peer)] {
        let mut told = std::collections::BTreeSet::new();
        while told.len() < MANY {
            let NativeEvent::News(News::Supported { peer: by, protocol, .. }) = next(inbox).await else { panic!() };
            assert!(by == peer && told.insert(protocol));
        }
    }
    let all: Vec<_> = (0..MANY).map(|at| name(&format!("/many-{at}/1"))).collect();
    assert_eq!(near.protocols.peers_supporting(&all), [far.peer]);
    assert_eq!(near.protocols.peer_protocols(&far.peer).len(), MANY);
    assert_eq!(near.protocols.registered().iter().filter(|one| one.peers == 1).count(), MANY);
    // One goes, one comes: differences of one entry each, not the set.
    let before = far.protocols.stats().exchange;
    far.protocols.unregister(&all[7]);
    until("near knows", || near.protocols.peer_protocols(&far.peer).len() == MANY - 1).await;
    assert_eq!(near.protocols.peers_supporting(&all), []);
    assert_eq!(near.protocols.peers_supporting(&all[8..]), [far.peer]);
    let _other = far.register("/other/1");
    until("near knows", || near.protocols.peer_protocols(&far.peer).len() == MANY).await;
    let after = far.protocols.stats().exchange;
    assert_eq!((after.full, after.differences - before.differences, after.entries - before.entries), (0, 2, 2));
    // Each of them carries traffic.
    near.protocols.send(&far.peer, &all[999], vec![9].into()).expect("open");
    assert_eq!(next_messages(&mut at_far).await, [vec![9]]);
}

#[tokio::test]
async fn a_change_among_a_thousand_takes_a_few_bytes() {
    let node = Side::near(1);
    let _inbox = register_many(&node);
    let mut peer = Puppet::connect(&node, 1, hello(2, 0, vec![])).await;
    node.protocols.unregister(&name("/many-7/1"));
    let (sequence, change) = peer.pushed().await;
    assert_eq!(change, SetChange::Difference { base: 1000, added: vec![], removed: vec![8] });
    let mut bytes = BytesMut::new();
    encode_control(&Control::Protocols { incarnation: 1, sequence, change }, &mut bytes).expect("fits");
    assert!(bytes.len() <= 16, "{} bytes", bytes.len());
}

#[tokio::test]
async fn a_peer_that_is_further_behind_than_is_remembered_gets_the_full_set() {
    let node = Side::near(1);
    let mut peer = Puppet::connect(&node, 1, hello(2, 0, vec![])).await;
    let _first = node.register("/first/1");
    assert_eq!(peer.pushed().await.0, 1);
    let _inbox = register_many(&node);
    peer.acknowledge(&node, 1);
    let (sequence, change) = peer.pushed().await;
    assert_eq!(sequence, 1001);
    assert!(matches!(change, SetChange::Full { protocols } if protocols.len() == MANY + 1));
    assert_eq!(node.protocols.stats().exchange.pushes, 2);
}

#[tokio::test]
async fn peers_that_support_all_of_a_list_are_found() {
    let node = Side::near(1);
    let sets: [&[&str]; 3] = [&["/a/1"], &["/a/1", "/b/1"], &["/a/1", "/b/1", "/c/1"]];
    // One peer that changes is enough: who it is does not matter to the question.
    let peer = Puppet::connect(&node, 1, hello(2, 0, vec![])).await;
    let who = peer.theirs.handle.peer;
    for (at, set) in sets.iter().enumerate() {
        let protocols = set.iter().zip(1..).map(|(id, number)| entry(id, number)).collect();
        peer.push(&node, 10 + at as u64, SetChange::Full { protocols });
        let ask = |list: &[&str]| node.protocols.peers_supporting(&list.iter().map(|id| name(id)).collect::<Vec<_>>());
        let expected = |holds: bool| if holds { vec![who] } else { vec![] };
        assert_eq!(ask(&[]), [who], "all of nothing");
        assert_eq!(ask(&["/a/1"]), [who]);
        assert_eq!(ask(&["/a/1", "/b/1"]), expected(at >= 1));
        assert_eq!(ask(&["/c/1", "/a/1"]), expected(at >= 2));
        assert_eq!(ask(&["/a/1", "/x/1"]), []);
        assert_eq!(node.protocols.peer_protocols(&who).len(), set.len());
    }
}
