//! What a turn may stage, and what taking the last of it back leaves.

use super::*;
use crate::plugin::store::{MemoryDisk, Store, StoreLimits};
use crate::protocol::LaneStatus;

fn staged(effects: u32, bytes: u32) -> Staged {
    let store = Store::in_memory(&MemoryDisk::default());
    Staged::new(effects, bytes, StagedWrites::new(store.namespace("x"), StoreLimits::default()))
}

fn lane(staged: &mut Staged, room: usize) -> usize {
    let status = LaneStatus { room, shared: 1 << 20, max_message: 8 };
    staged.lanes.position(PeerId::from_bytes([1; 32]), 0, || ("/a/1".parse().expect("an id"), Ok(status)))
}

fn message(staged: &mut Staged, lane: usize, body: &'static [u8]) -> Result<(), OverBudget> {
    staged.push(Effect::Message { lane, body: Bytes::from_static(body) })
}

#[test]
fn the_last_message_may_go_above_the_soft_limit_and_the_next_is_busy() {
    let mut staged = staged(9, 100);
    let lane = lane(&mut staged, 5);
    assert_eq!(staged.lanes.accept(lane, 9), Err(SendError::TooLarge));
    for body in [b"abc", b"def"] {
        assert_eq!(staged.lanes.accept(lane, 3), Ok(()));
        message(&mut staged, lane, body).expect("fits");
    }
    assert_eq!((staged.lanes.accept(lane, 1), staged.room(lane)), (Err(SendError::Busy), 0));
}

#[test]
fn what_all_lanes_share_is_not_promised_twice() {
    let mut staged = staged(9, 1000);
    let status = LaneStatus { room: 1000, shared: 100, max_message: 60 };
    let open = |staged: &mut Staged, peer| {
        staged.lanes.position(PeerId::from_bytes([peer; 32]), 0, || ("/a/1".parse().expect("an id"), Ok(status)))
    };
    let lanes: Vec<_> = (1..=4).map(|peer| open(&mut staged, peer)).collect();
    let answers = lanes.iter().map(|lane| Ok::<_, SendError>(*lane));
    let answers = staged.push_all(answers, Bytes::from_static(&[0; 9]));
    assert_eq!(answers, Ok(vec![(3, SendError::Busy)]));
    assert_eq!((staged.lanes.accept(lanes[0], 1), staged.room(lanes[0])), (Err(SendError::Busy), 0));
    staged.keep(0);
    assert_eq!(staged.room(lanes[0]), 100);
    let refused: Vec<_> = staged.take().lanes.iter().map(StagedLane::was_refused).collect();
    assert_eq!(refused, [true, false, false, true]);
}

#[test]
fn the_budgets_of_a_turn_hold() {
    let mut staged = staged(3, 5);
    let lane = lane(&mut staged, 100);
    assert_eq!(message(&mut staged, lane, b"abc"), Ok(()));
    assert_eq!(message(&mut staged, lane, b"def"), Err(OverBudget));
    assert_eq!(message(&mut staged, lane, b"de"), Ok(()));
    assert_eq!(staged.push(Effect::Nothing), Ok(()));
    assert_eq!(staged.push(Effect::Nothing), Err(OverBudget));
}

#[test]
fn keep_takes_everything_after_it_back() {
    let mut staged = staged(99, 100);
    let lane = lane(&mut staged, 3);
    staged.push(Effect::TimerSet { id: 1, after: Duration::ZERO, before: None }).expect("fits");
    let mark = staged.writes.mark();
    staged.writes.put(b"k".to_vec(), b"v".to_vec()).expect("staged");
    staged.push(Effect::Write(mark)).expect("fits");
    staged.push(Effect::TimerCancel { id: 1, before: Some(true) }).expect("fits");
    message(&mut staged, lane, b"abc").expect("fits");
    staged.push(Effect::Respond { token: RequestToken(7), outcome: Ok(Bytes::new()) }).expect("fits");
    assert_eq!(staged.lanes.accept(lane, 1), Err(SendError::Busy));
    staged.keep(1);
    assert_eq!((staged.timer(1), staged.room(lane), staged.answered(RequestToken(7))), (Some(true), 3, false));
    assert!(staged.writes.is_empty());
    let commit = staged.take();
    assert_eq!(commit.effects.len(), 1);
    assert!(commit.lanes[lane].was_refused());
}

#[test]
fn a_key_that_is_registered_anew_has_lanes_of_its_own() {
    let mut staged = staged(9, 100);
    let first = lane(&mut staged, 5);
    let (id, status) = ("/a/1".parse().expect("an id"), LaneStatus { room: 5, shared: 1_000_000, max_message: 8 });
    staged.push(Effect::Unregister { key: 0, id, before: None }).expect("fits");
    let look = || ("/b/1".parse().expect("an id"), Ok(status));
    assert_ne!(staged.lanes.position(PeerId::from_bytes([1; 32]), 0, look), first);
    staged.keep(0);
    assert_eq!(lane(&mut staged, 5), first);
}

fn push_all(staged: &mut Staged, to: &[usize], body: &'static [u8]) -> Vec<(u32, SendError)> {
    staged.push_all(to.iter().map(|lane| Ok(*lane)), Bytes::from_static(body)).expect("fits")
}

#[test]
fn a_send_to_many_that_nobody_takes_is_no_effect() {
    let mut staged = staged(9, 100);
    let lane = lane(&mut staged, 0);
    assert_eq!(push_all(&mut staged, &[], b"abc"), []);
    assert_eq!(push_all(&mut staged, &[lane, lane], b"abc"), [(0, SendError::Busy), (1, SendError::Busy)]);
    assert_eq!(staged.take().effects.len(), 0);
}

#[test]
fn a_peer_named_twice_takes_room_twice() {
    let mut staged = staged(9, 100);
    let lane = lane(&mut staged, 5);
    assert_eq!(push_all(&mut staged, &[lane, lane, lane], b"abc"), [(2, SendError::Busy)]);
    assert_eq!(staged.room(lane), 0);
    staged.keep(0);
    assert_eq!(staged.room(lane), 5);
}
