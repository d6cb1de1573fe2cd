//! What a turn takes, in which order, and what a peer that goes leaves behind.

use std::time::Duration;

use bytes::Bytes;

use super::*;

const BOUNDS: Bounds = Bounds { room: 4_096, unit: 16, batch_events: 4, batch_bytes: 100, commands: 2 };

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

fn protocol() -> ProtocolId {
    "/a/1".parse().expect("a protocol id")
}

fn supported(n: u8) -> News {
    News::Supported { peer: peer(n), protocol: protocol(), max_message: 100 }
}

fn unsupported(n: u8) -> News {
    News::Unsupported { peer: peer(n), protocol: protocol() }
}

fn messages(n: u8, bodies: &[&'static [u8]]) -> InBatch {
    let items = bodies.iter().map(|body| Inbound::Message(Bytes::from_static(body))).collect();
    InBatch { peer: peer(n), protocol: protocol(), items }
}

fn push(state: &mut MailboxState, batch: &InBatch) -> bool {
    let Admission::Welcome(stay) = state.admit(batch.peer, &batch.protocol) else { return false };
    let cost = state.cost(batch);
    state.push(stay, batch, cost)
}

fn shown(batch: &Batch) -> Vec<String> {
    let show = |item: &Item| match item {
        Item::Message { lane, body } => {
            let from = batch.lanes[*lane as usize].0.as_bytes()[0];
            format!("{from}:{}", String::from_utf8_lossy(batch.body(*body)))
        }
        item => item.kind().to_owned(),
    };
    batch.items.iter().map(show).collect()
}

/// Two peers that the plugin knows, and what waits of them: `a` and `b` of the first, `c` of the second.
fn with_messages_of_two() -> MailboxState {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    state.news(supported(2));
    state.take();
    push(&mut state, &messages(1, &[b"a", b"b"]));
    push(&mut state, &messages(2, &[b"c"]));
    state
}

#[test]
fn a_turn_takes_what_is_there_in_order_and_gives_room_back() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    state.news(supported(2));
    assert!(push(&mut state, &messages(1, &[b"a", b"bb"])));
    assert!(push(&mut state, &messages(2, &[b"c"])));
    let (batch, freed) = state.take();
    assert_eq!(shown(&batch), ["peer-supported", "peer-supported", "1:a", "1:bb", "2:c"]);
    assert_eq!(batch.bodies, b"abbc");
    assert_eq!(freed, 3 * 16);
    assert!(state.is_empty());
}

#[test]
fn a_turn_is_bounded_in_events_and_bytes_except_for_one_large_message() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    state.take();
    push(&mut state, &messages(1, &[b"1", b"2", b"3", b"4", b"5"]));
    push(&mut state, &messages(1, &[&[b'x'; 300], b"6"]));
    let lengths: Vec<_> = std::iter::repeat_with(|| state.take().0.items.len()).take(4).collect();
    assert_eq!(lengths, [4, 1, 1, 1]);
}

#[test]
fn a_peer_that_goes_takes_its_messages_along() {
    let mut state = with_messages_of_two();
    state.news(unsupported(1));
    state.news(supported(1));
    push(&mut state, &messages(1, &[b"new"]));
    let (batch, freed) = state.take();
    assert_eq!(shown(&batch), ["missed", "peer-unsupported", "peer-supported", "2:c", "1:new"]);
    // What was purged gives its room back no sooner than its bodies go.
    assert_eq!((freed, state.purged()), (4 * 16, 2));
}

#[test]
fn a_peer_that_came_and_went_unseen_is_not_mentioned() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    push(&mut state, &messages(1, &[b"a"]));
    state.news(unsupported(1));
    let (batch, _) = state.take();
    assert_eq!(batch.items, []);
    assert_eq!(state.admit(peer(1), &protocol()), Admission::Absent);
}

#[test]
fn what_waited_for_room_during_an_absence_is_refused() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    let Admission::Welcome(stay) = state.admit(peer(1), &protocol()) else { panic!("welcome") };
    state.news(unsupported(1));
    state.news(supported(1));
    assert!(!state.push(stay, &messages(1, &[b"old"]), 16));
}

#[test]
fn counts_and_pressure_are_coalesced() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    let lane = || (peer(1), protocol());
    for messages in [2, 3] {
        let (peer, protocol) = lane();
        state.news(News::Undelivered { peer, protocol, messages });
    }
    let (peer, protocol) = lane();
    state.news(News::Congested { peer, protocol: protocol.clone() });
    state.news(News::Relieved { peer, protocol: protocol.clone() });
    let (batch, _) = state.take();
    assert_eq!(shown(&batch), ["peer-supported", "undelivered", "relieved"]);
    assert!(batch.items.contains(&Item::News(Box::new(News::Undelivered { peer, protocol, messages: 5 }))));
}

#[test]
fn a_request_that_is_withdrawn_while_it_waits_is_never_seen() {
    let mut state = MailboxState::new(BOUNDS);
    state.news(supported(1));
    state.take();
    let request = |n| Inbound::Request { token: RequestToken(n), timeout: Duration::from_secs(1), body: Bytes::new() };
    push(&mut state, &InBatch { items: vec![request(1), request(2)], ..messages(1, &[]) });
    state.news(News::Withdrawn(RequestToken(1)));
    let (batch, freed) = state.take();
    assert_eq!((shown(&batch), freed), (vec!["request".to_owned()], 2 * 16));
    state.news(News::Withdrawn(RequestToken(2)));
    assert_eq!(shown(&state.take().0), ["withdrawn"]);
}

#[test]
fn commands_are_limited_and_come_back_when_it_closes() {
    let mut state = MailboxState::new(BOUNDS);
    let head =
        |id| CommandHead { id, caller: super::super::Caller::Plugin("x".into()), name: "c".into(), timeout_ms: 1 };
    assert_eq!([1, 2, 3].map(|id| state.command(head(id), b"{}")), [true, true, false]);
    // A withdrawn command holds its place as long as its body is here.
    state.command_withdrawn(1);
    assert!(!state.command(head(5), b"{}"));
    assert_eq!(shown(&state.take().0), ["command"]);
    assert_eq!([6, 7, 8].map(|id| state.command(head(id), b"{}")), [true, true, false]);
    assert_eq!(state.close().1, [6, 7]);
    assert!(!state.command(head(4), b""));
    assert_eq!(state.admit(peer(1), &protocol()), Admission::Closed);
}

#[test]
fn a_muted_peer_leaves_nothing_behind_but_the_count() {
    let mut state = with_messages_of_two();
    let timeout = Duration::from_secs(1);
    let request = Inbound::Request { token: RequestToken(7), timeout, body: Bytes::new() };
    push(&mut state, &InBatch { peer: peer(1), protocol: protocol(), items: vec![request] });
    assert_eq!(state.mute(&(peer(1), protocol())), [RequestToken(7)]);
    let (batch, freed) = state.take();
    assert_eq!(shown(&batch), ["missed", "2:c"]);
    assert_eq!((freed, state.purged()), (4 * 16, 3));
    assert!(push(&mut state, &messages(1, &[b"d"])), "its stay goes on");
}
