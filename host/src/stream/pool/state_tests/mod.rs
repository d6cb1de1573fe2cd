//! What the pool does, case by case.

mod invariants;
mod turns;

use std::time::Duration;

use super::*;

const IDLE_FOR: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

fn borrow(waiter: WaiterId, lane: u64, deadline: Instant) -> Event {
    Event::Borrow { waiter, lane: LaneId(lane), since: deadline, deadline }
}

/// A pool with so many streams open and idle: their ids are 1, 2, 3 and so on.
fn filled(max: usize, now: Instant) -> PoolState {
    let policy = PoolPolicy { max, init: max, low_water: 0, idle_for: IDLE_FOR, ..PoolPolicy::default() };
    let mut state = PoolState::new(policy, 100);
    assert_eq!(state.handle(Event::Start, now), vec![Action::Open; max]);
    for stream in 1..=max as u64 {
        assert_eq!(state.handle(Event::Opened { stream }, now), []);
    }
    state
}

#[test]
fn a_stream_given_back_unused_after_its_end_is_not_lent_again() {
    let now = Instant::now();
    let mut state = PoolState::new(PoolPolicy { max: 1, init: 1, ..PoolPolicy::default() }, 100);
    state.handle(Event::Start, now);
    state.handle(Event::Opened { stream: 2 }, now);
    assert_eq!(state.handle(borrow(1, 1, now), now), [Action::Lend { waiter: 1, stream: 2, fresh: true }]);
    assert!(state.handle(Event::Reported { stream: 2 }, now).is_empty());
    assert!(state.handle(Event::Returned { stream: 2, condition: Condition::Unused }, now).is_empty());
    assert!(state.handle(borrow(2, 2, now), now).is_empty(), "its lane does not know of the end yet");
    assert_eq!(state.handle(Event::Ended { stream: 2 }, now), [Action::Forget { stream: 2 }, Action::Open]);
}

#[test]
fn the_longest_parked_makes_room_and_is_never_lent_to_another_lane() {
    let now = Instant::now();
    let policy = PoolPolicy { max: 2, init: 2, ..PoolPolicy::default() };
    let mut state = PoolState::new(policy, 100);
    assert_eq!(state.handle(Event::Start, now), [Action::Open; 2]);
    state.handle(Event::Opened { stream: 2 }, now);
    state.handle(Event::Opened { stream: 6 }, now);
    for (waiter, stream) in [(1, 2), (2, 6)] {
        let lent = state.handle(borrow(waiter, waiter, now), now);
        assert_eq!(lent, [Action::Lend { waiter, stream, fresh: true }]);
    }
    for stream in [6, 2] {
        assert!(state.handle(Event::Returned { stream, condition: Condition::Clean }, now).is_empty());
    }
    assert_eq!(state.handle(borrow(3, 3, now), now), [Action::Finish { stream: 6 }], "lane 2 was parked first");
    assert_eq!(state.handle(borrow(4, 1, now), now), [Action::Lend { waiter: 4, stream: 2, fresh: false }]);
    assert_eq!(state.handle(borrow(5, 2, now), now), [], "its own last stream is still unread");
    let ended = state.handle(Event::Ended { stream: 6 }, now);
    assert_eq!(ended, [Action::Forget { stream: 6 }, Action::Open]);
    let opened = state.handle(Event::Opened { stream: 10 }, now);
    assert_eq!(opened, [Action::Lend { waiter: 3, stream: 10, fresh: true }]);
    let late = state.handle(Event::Tick, now);
    assert_eq!(late, [Action::Deny { waiter: 5, why: BorrowError::Busy }]);
}

#[test]
fn the_peers_limit_counts_when_it_is_lower() {
    assert_eq!(PoolState::new(PoolPolicy::default(), 3).stats().max, 3);
    let now = Instant::now();
    let mut none = PoolState::new(PoolPolicy::default(), 0);
    assert!(none.handle(Event::Start, now).is_empty());
    assert!(none.handle(borrow(1, 1, now), now).is_empty());
    assert_eq!(none.handle(Event::Tick, now), [Action::Deny { waiter: 1, why: BorrowError::Busy }]);
}

#[test]
fn whatever_comes_back_into_a_full_pool_is_counted_out_and_replaced() {
    let now = Instant::now();
    let mut state = filled(5, now);
    let conditions = [Condition::Unused, Condition::Clean, Condition::Finished, Condition::Dirty, Condition::Failed];
    for lane in 1..=5 {
        let lent = state.handle(borrow(lane, lane, now), now);
        assert_eq!(lent, [Action::Lend { waiter: lane, stream: lane, fresh: true }]);
    }
    for (stream, condition) in (1..).zip(conditions) {
        state.handle(Event::Returned { stream, condition }, now);
        assert_eq!(state.stats().total(), 5, "{condition:?}");
        assert_eq!(state.handle(Event::Returned { stream, condition }, now), [Action::Forget { stream }], "again");
    }
    let PoolStats { idle, lent, parked, ending, opening, counters, .. } = state.stats();
    assert_eq!((idle, lent, parked, ending, opening), (1, 0, 1, 3, 0));
    assert_eq!((counters.abandoned, counters.stopped), (1, 1));
    for stream in 3..=5 {
        state.handle(Event::Ended { stream }, now);
    }
    let stats = state.stats();
    assert_eq!((stats.ending, stats.total() <= stats.max), (0, true), "{stats:?}");
}

#[test]
fn a_pool_that_lost_every_stream_grows_again() {
    let now = Instant::now();
    let policy = PoolPolicy { init: 2, low_water: 0, batch: 1, max: 2, ..PoolPolicy::default() };
    let mut state = PoolState::new(policy, 100);
    state.handle(Event::Start, now);
    for round in 0..10 {
        let (one, two) = (round * 2 + 1, round * 2 + 2);
        state.handle(Event::Opened { stream: one }, now);
        state.handle(Event::Opened { stream: two }, now);
        for stream in [one, two] {
            let lent = state.handle(borrow(stream, stream, now), now);
            assert_eq!(lent[0], Action::Lend { waiter: stream, stream, fresh: true });
            state.handle(Event::Returned { stream, condition: Condition::Dirty }, now);
        }
        // Nothing is left, and somebody waits: what the peer reports is opened anew.
        assert_eq!(state.handle(borrow(1000 + round, 1000, now + PATIENCE), now), []);
        for stream in [one, two] {
            let ended = state.handle(Event::Ended { stream }, now);
            assert_eq!(ended, [Action::Forget { stream }, Action::Open]);
        }
        state.handle(Event::Cancel { waiter: 1000 + round }, now);
        assert_eq!((state.stats().opening, state.stats().waiters), (2, 0));
    }
    assert_eq!(state.stats().counters.abandoned, 20);
}

#[test]
fn a_wait_that_ends_in_vain_leaves_nothing_behind() {
    let now = Instant::now();
    let mut state = filled(1, now);
    state.handle(borrow(1, 1, now), now);
    for waiter in 2..100 {
        assert_eq!(state.handle(borrow(waiter, waiter, now), now), []);
        let denied = Action::Deny { waiter, why: BorrowError::Busy };
        if waiter % 2 == 0 {
            assert_eq!(state.handle(Event::Tick, now), [denied]);
        } else {
            assert_eq!(state.handle(Event::Cancel { waiter }, now), []);
        }
    }
    let stats = state.stats();
    assert_eq!((stats.waiters, stats.lent, stats.total(), stats.counters.denied), (0, 1, 1, 49));
}

#[test]
fn closing_twice_or_while_streams_are_out_changes_nothing_more() {
    let now = Instant::now();
    let mut state = filled(3, now);
    state.handle(borrow(1, 1, now), now);
    state.handle(borrow(2, 2, now), now);
    state.handle(borrow(3, 3, now), now);
    state.handle(Event::Returned { stream: 2, condition: Condition::Dirty }, now);
    state.handle(borrow(4, 4, now), now);
    let closed = state.handle(Event::Close, now);
    assert_eq!(closed, [Action::Forget { stream: 2 }, Action::Deny { waiter: 4, why: BorrowError::Closed }]);
    assert_eq!(state.handle(Event::Close, now), []);
    for (stream, condition) in [(1, Condition::Clean), (3, Condition::Dirty)] {
        assert_eq!(state.handle(Event::Returned { stream, condition }, now), [Action::Forget { stream }]);
    }
    assert_eq!(state.handle(borrow(5, 5, now), now), [Action::Deny { waiter: 5, why: BorrowError::Closed }]);
    assert_eq!((state.stats().total(), state.is_drained()), (0, true));
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn what_nobody_uses_goes_after_a_while_and_its_slot_when_the_peer_says_so() {
    let begin = Instant::now();
    let policy = PoolPolicy { init: 2, low_water: 0, batch: 0, max: 8, idle_for: IDLE_FOR, ..PoolPolicy::default() };
    let mut state = PoolState::new(policy, 100);
    state.handle(Event::Start, begin);
    // A crowd makes it grow, and goes away.
    for waiter in 1..=8 {
        state.handle(borrow(waiter, waiter, begin + PATIENCE), begin);
    }
    for waiter in 1..=7 {
        state.handle(Event::Cancel { waiter }, begin);
    }
    for stream in 1..=8 {
        state.handle(Event::Opened { stream }, begin);
    }
    state.handle(Event::Returned { stream: 1, condition: Condition::Clean }, begin);
    let stats = state.stats();
    assert_eq!((stats.parked, stats.idle, stats.max), (1, 7, 8));
    assert_eq!(state.next_deadline(), Some(begin + IDLE_FOR));
    let end = begin + IDLE_FOR;
    assert_eq!(state.handle(Event::Tick, end - Duration::from_millis(1)), []);
    assert_eq!(state.handle(Event::Tick, end), [1, 2, 3, 4, 5, 6].map(|stream| Action::Finish { stream }));
    let stats = state.stats();
    assert_eq!((stats.parked, stats.idle, stats.ending, stats.counters.shrunk), (0, 2, 6, 6));
    assert_eq!(state.next_deadline(), None, "what is kept is kept");
    for stream in 1..=6 {
        assert_eq!(state.handle(Event::Reported { stream }, end), []);
        assert_eq!(state.handle(Event::Ended { stream }, end), [Action::Forget { stream }]);
    }
    assert_eq!((state.stats().total(), state.stats().idle), (2, 2));
}

#[test]
fn who_asks_again_after_a_wait_in_vain_keeps_its_place() {
    let begin = Instant::now();
    let mut state = filled(1, begin);
    state.handle(borrow(1, 1, begin), begin);
    state.handle(borrow(2, 2, begin), begin);
    let second = begin + Duration::from_millis(1);
    state.handle(Event::Borrow { waiter: 3, lane: LaneId(3), since: second, deadline: begin + PATIENCE }, second);
    assert_eq!(state.handle(Event::Tick, second), [Action::Deny { waiter: 2, why: BorrowError::Busy }]);
    state.handle(Event::Borrow { waiter: 4, lane: LaneId(2), since: begin, deadline: begin + PATIENCE }, second);
    let back = state.handle(Event::Returned { stream: 1, condition: Condition::Unused }, second);
    assert_eq!(back, [Action::Lend { waiter: 4, stream: 1, fresh: true }]);
    assert_eq!(state.stats().counters.late, 1);
}
