//! The pool's invariants over random sequences of events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody who has waited for so many ms before, in vain.
    Borrow {
        lane: u64,
        waited: u64,
        patience: u64,
    },
    Cancel(usize),
    Opened,
    Return(usize, Condition),
    Release {
        lane: u64,
    },
    Report(usize),
    End(usize),
    Pass(u64),
    Drain,
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let condition = prop_oneof![
        4 => Just(Condition::Clean),
        1 => Just(Condition::Unused),
        1 => Just(Condition::Finished),
        1 => Just(Condition::Dirty),
        1 => Just(Condition::Failed),
    ];
    prop_oneof![
        40 => (0..8_u64, 0..30_u64, 0..50_u64)
            .prop_map(|(lane, waited, patience)| Step::Borrow { lane, waited, patience }),
        5 => any::<usize>().prop_map(Step::Cancel),
        30 => Just(Step::Opened),
        30 => (any::<usize>(), condition).prop_map(|(at, condition)| Step::Return(at, condition)),
        4 => (0..8_u64).prop_map(|lane| Step::Release { lane }),
        10 => any::<usize>().prop_map(Step::Report),
        20 => any::<usize>().prop_map(Step::End),
        10 => (0..40_u64).prop_map(Step::Pass),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
    ]
}

const IDLE_FOR: Duration = Duration::from_millis(100);

/// Plays the shell: does what the actions say and checks them.
struct Shell {
    state: PoolState,
    now: Instant,
    waiting: BTreeSet<WaiterId>,
    lent: BTreeMap<u64, bool>,
    /// Streams that the peer may report as ended.
    visible: BTreeSet<u64>,
    /// Those of them that it has reported; their lanes do not know yet.
    reported: BTreeSet<u64>,
    to_open: usize,
    next: u64,
}

impl Shell {
    fn new(max: usize) -> Self {
        let policy = PoolPolicy { max, idle_for: IDLE_FOR, ..PoolPolicy::default() };
        let mut shell = Self {
            state: PoolState::new(policy, 7),
            now: Instant::now(),
            waiting: BTreeSet::new(),
            lent: BTreeMap::new(),
            visible: BTreeSet::new(),
            reported: BTreeSet::new(),
            to_open: 0,
            next: 0,
        };
        shell.handle(Event::Start);
        shell
    }

    fn handle(&mut self, event: Event) {
        for action in self.state.handle(event, self.now) {
            match action {
                Action::Open => self.to_open += 1,
                Action::Lend { waiter, stream, fresh } => {
                    assert!(self.waiting.remove(&waiter), "{waiter} was lent a stream without waiting for one");
                    assert!(self.lent.insert(stream, fresh).is_none(), "{stream} was lent twice");
                    assert!(!self.reported.contains(&stream), "{stream} was lent after its end");
                    self.visible.insert(stream);
                }
                Action::Deny { waiter, .. } => {
                    assert!(self.waiting.remove(&waiter), "{waiter} was denied without waiting");
                }
                Action::Finish { stream } | Action::Abandon { stream } => {
                    assert!(!self.lent.contains_key(&stream));
                    self.visible.insert(stream);
                }
                Action::Forget { stream } => {
                    assert!(!self.lent.contains_key(&stream));
                    self.visible.remove(&stream);
                }
            }
        }
        self.check();
    }

    fn step(&mut self, step: Step) {
        self.next += 1;
        match step {
            Step::Borrow { lane, waited, patience } => {
                self.waiting.insert(self.next);
                let deadline = self.now + Duration::from_millis(patience);
                let since = self.now.checked_sub(Duration::from_millis(waited)).unwrap_or(self.now);
                self.handle(Event::Borrow { waiter: self.next, lane: LaneId(lane), since, deadline });
            }
            Step::Cancel(at) => {
                if let Some(waiter) = pick(&self.waiting, at) {
                    self.waiting.remove(&waiter);
                    self.handle(Event::Cancel { waiter });
                }
            }
            Step::Opened if self.to_open > 0 => {
                self.to_open -= 1;
                self.handle(Event::Opened { stream: self.next });
            }
            Step::Return(at, condition) => self.give_back(at, condition),
            Step::Release { lane } => self.handle(Event::Release { lane: LaneId(lane) }),
            Step::Report(at) => {
                if let Some(stream) = pick(&self.visible, at) {
                    self.reported.insert(stream);
                    self.handle(Event::Reported { stream });
                }
            }
            Step::End(at) => {
                if let Some(stream) = pick(&self.visible, at) {
                    self.visible.remove(&stream);
                    self.handle(Event::Ended { stream });
                }
            }
            Step::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                self.handle(Event::Tick);
                assert!(self.state.next_deadline().is_none_or(|next| next > self.now));
            }
            Step::Drain => self.handle(Event::Drain),
            Step::Close => {
                self.handle(Event::Close);
                assert!(self.waiting.is_empty(), "closing wakes everybody");
                let before = self.state.stats();
                assert!(self.state.handle(Event::Close, self.now).is_empty(), "closing twice changes nothing");
                assert_eq!(self.state.stats(), before);
            }
            Step::Opened => {}
        }
    }

    fn give_back(&mut self, at: usize, condition: Condition) {
        let lent = self.lent.keys().copied().collect();
        let Some(stream) = pick(&lent, at) else { return };
        let fresh = self.lent.remove(&stream) == Some(true);
        let condition = match condition {
            Condition::Unused if !fresh => Condition::Clean,
            other => other,
        };
        self.handle(Event::Returned { stream, condition });
    }

    fn check(&self) {
        let stats = self.state.stats();
        assert!(stats.total() <= stats.max, "{stats:?}");
        assert_eq!(stats.lent, self.lent.len(), "{stats:?}");
        assert_eq!(stats.waiters, self.waiting.len(), "{stats:?}");
        let PoolCounters { opened, lent, late, .. } = stats.counters;
        assert!(stats.total() - stats.opening <= opened as usize && stats.lent <= lent as usize && late <= lent);
        if self.state.is_open() {
            assert_eq!(stats.opening, self.to_open, "{stats:?}");
            assert!(self.state.hungry().is_empty() || stats.idle == 0, "{stats:?}");
            for (_, waiter) in self.state.waiters.iter() {
                assert_eq!(self.state.slots.parked_for(waiter.lane), None, "its own stream is parked");
            }
            if !self.state.hungry().is_empty() {
                assert!(stats.opening > 0 || stats.total() == stats.max, "an empty pool grows: {stats:?}");
            }
        }
    }
}

fn pick(from: &BTreeSet<u64>, at: usize) -> Option<u64> {
    from.iter().nth(at.checked_rem(from.len())?).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_invariants_hold(max in 1_usize..12, steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut shell = Shell::new(max);
        for step in steps {
            shell.step(step);
        }
        // However it came here: when the peer reads on and everything opens, everybody is served or told.
        shell.step(Step::Pass(1000));
        prop_assert!(shell.waiting.is_empty());
        let stats = shell.state.stats();
        if shell.state.is_open() {
            prop_assert!(stats.parked == 0 && stats.idle <= shell.state.policy.keep(), "not shrunk: {stats:?}");
        }
        shell.step(Step::Drain);
        while let Some(stream) = shell.lent.keys().next().copied() {
            shell.lent.remove(&stream);
            shell.handle(Event::Returned { stream, condition: Condition::Clean });
        }
        for stream in shell.visible.clone() {
            shell.handle(Event::Ended { stream });
        }
        // A stream whose end was reported before it was given back as failed or finished is drained as well.
        prop_assert!(shell.state.is_drained() , "{:?}", shell.state.stats());
    }
}

/// A peer that gives fewer streams than it said, and reads everything at once.
struct Stingy {
    state: PoolState,
    credit: usize,
    /// Streams that are open for the peer.
    open: usize,
    wanted: usize,
    last: u64,
}

impl Stingy {
    /// What the waiter was lent, after everything that can happen without time has happened.
    fn handle(&mut self, event: Event, waiter: WaiterId, now: Instant) -> Option<u64> {
        let mut events = VecDeque::from([event]);
        let mut got = None;
        while let Some(event) = events.pop_front() {
            for action in self.state.handle(event, now) {
                match action {
                    Action::Open => self.wanted += 1,
                    Action::Lend { waiter: to, stream, .. } if to == waiter => got = Some(stream),
                    Action::Lend { stream, .. } => panic!("{stream} went to somebody who waits no more"),
                    Action::Finish { stream } => events.push_back(Event::Ended { stream }),
                    Action::Forget { .. } => self.open -= 1,
                    Action::Deny { .. } | Action::Abandon { .. } => {}
                }
            }
            while self.wanted > 0 && self.open < self.credit {
                (self.wanted, self.open, self.last) = (self.wanted - 1, self.open + 1, self.last + 1);
                events.push_back(Event::Opened { stream: self.last });
            }
        }
        got
    }
}

proptest! {
    #[test]
    fn an_open_that_never_completes_starves_nobody(
        credit in 1_usize..5, max in 1_usize..12, lanes in proptest::collection::vec(0..8_u64, 1..60),
    ) {
        let policy = PoolPolicy { max, ..PoolPolicy::default() };
        let state = PoolState::new(policy, 100);
        let mut peer = Stingy { state, credit, open: 0, wanted: 0, last: 0 };
        let mut now = Instant::now();
        let mut waiter = 0;
        peer.handle(Event::Start, waiter, now);
        for lane in lanes {
            let mut lent = None;
            for _ in 0..2 {
                waiter += 1;
                now += Duration::from_millis(1);
                lent = lent.or_else(|| peer.handle(borrow(waiter, lane, now), waiter, now));
                peer.handle(Event::Tick, waiter, now);
            }
            let Some(stream) = lent else { panic!("lane {lane} starves: {:?}", peer.state.stats()) };
            peer.handle(Event::Returned { stream, condition: Condition::Clean }, waiter, now);
        }
    }
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

fn borrow(waiter: WaiterId, lane: u64, deadline: Instant) -> Event {
    Event::Borrow { waiter, lane: LaneId(lane), since: deadline, deadline }
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

const PATIENCE: Duration = Duration::from_secs(5);

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

proptest! {
    /// Lanes that always have something to write, and give their stream back after a turn of 100 ms when it is wanted;
    /// a turn round all of them takes longer than anybody's patience.
    #[test]
    fn more_busy_lanes_than_slots_all_have_their_turns(lanes in 2..80_u64, max in 1..6_usize, turn in 1..4_u64) {
        let mut now = Instant::now();
        let mut state = filled(max, now);
        let mut turns = BTreeMap::<u64, u32>::new();
        let mut writing = BTreeMap::<u64, (u64, Instant)>::new();
        let mut waiting = BTreeMap::<WaiterId, (u64, Instant)>::new();
        let mut last = (1000, max as u64);
        let mut events = VecDeque::new();
        let ask = |lane: u64, since: Instant, now: Instant, last: &mut (u64, u64)| {
            last.0 += 1;
            (last.0, Event::Borrow { waiter: last.0, lane: LaneId(lane), since, deadline: now + PATIENCE })
        };
        for lane in 1..=lanes {
            let (waiter, event) = ask(lane, now, now, &mut last);
            waiting.insert(waiter, (lane, now));
            events.push_back(event);
        }
        let rounds = 3 * (lanes as usize).div_ceil(max) * turn as usize;
        for _ in 0..=rounds {
            events.push_back(Event::Tick);
            while let Some(event) = events.pop_front() {
                for action in state.handle(event, now) {
                    match action {
                        Action::Open => {
                            last.1 += 1;
                            events.push_back(Event::Opened { stream: last.1 });
                        }
                        Action::Lend { waiter, stream, .. } => {
                            let (lane, _) = waiting.remove(&waiter).expect("it waits");
                            *turns.entry(lane).or_default() += 1;
                            writing.insert(stream, (lane, now));
                        }
                        Action::Deny { waiter, .. } => {
                            let (lane, since) = waiting.remove(&waiter).expect("it waits");
                            let (waiter, event) = ask(lane, since, now, &mut last);
                            waiting.insert(waiter, (lane, since));
                            events.push_back(event);
                        }
                        Action::Finish { stream } => events.push_back(Event::Ended { stream }),
                        Action::Abandon { .. } | Action::Forget { .. } => {}
                    }
                }
            }
            now += Duration::from_millis(100);
            for (stream, (lane, since)) in writing.clone() {
                if now - since >= Duration::from_millis(100 * turn) && state.is_short() {
                    writing.remove(&stream);
                    for action in state.handle(Event::Returned { stream, condition: Condition::Clean }, now) {
                        assert_eq!(action, Action::Finish { stream });
                        events.push_back(Event::Ended { stream });
                    }
                    let (waiter, event) = ask(lane, now, now, &mut last);
                    waiting.insert(waiter, (lane, now));
                    events.push_back(event);
                }
            }
        }
        let (least, most) = (turns.values().min(), turns.values().max());
        prop_assert_eq!(turns.len() as u64, lanes, "some never had a turn: {:?}", turns);
        if lanes as usize > max {
            prop_assert!(most <= least.map(|least| least + 2).as_ref(), "unfair: {:?}", turns);
        }
    }
}
