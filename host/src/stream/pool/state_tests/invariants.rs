//! The pool's invariants over random sequences of events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What the peer allows: less than some policies do.
const PEER_MAX: u32 = 7;

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
    Resume,
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
        1 => Just(Step::Resume),
        1 => Just(Step::Close),
    ]
}

/// Plays the shell: does what the actions say and checks them.
struct Shell {
    state: PoolState,
    /// The smaller of the policy's limit and the peer's.
    max: usize,
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
            state: PoolState::new(policy, PEER_MAX),
            max: max.min(PEER_MAX as usize),
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
            Step::Resume => self.handle(Event::Resume),
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
        assert!(stats.total() <= self.max, "{stats:?}");
        assert_eq!(stats.lent, self.lent.len(), "{stats:?}");
        assert_eq!(stats.waiters, self.waiting.len(), "{stats:?}");
        let PoolCounters { opened, lent, late, .. } = stats.counters;
        assert!(stats.total() - stats.opening <= opened as usize && stats.lent <= lent as usize && late <= lent);
        if self.state.is_open() {
            assert_eq!(stats.opening, self.to_open, "{stats:?}");
            let hungry = self.state.hungry().count();
            assert_eq!(self.state.waiters.hungry(self.state.slots.holders()), hungry, "counted as they are listed");
            assert!(hungry == 0 || stats.idle == 0, "{stats:?}");
            for (_, waiter) in self.state.waiters.iter() {
                assert_eq!(self.state.slots.parked_for(waiter.lane), None, "its own stream is parked");
            }
            if hungry > 0 {
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
