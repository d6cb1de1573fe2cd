//! Lanes that always have something to write, on fewer streams than they are.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(100);

/// Lanes that give their stream back after a turn when it is wanted, and a peer that reads everything at once.
struct Crowd {
    state: PoolState,
    now: Instant,
    turn: Duration,
    /// How many turns each lane had.
    turns: BTreeMap<LaneId, u32>,
    writing: BTreeMap<u64, (LaneId, Instant)>,
    waiting: BTreeMap<WaiterId, (LaneId, Instant)>,
    events: VecDeque<Event>,
    last_waiter: WaiterId,
    last_stream: u64,
}

impl Crowd {
    fn new(max: usize, turn: Duration) -> Self {
        let now = Instant::now();
        Self {
            state: filled(max, now),
            now,
            turn,
            turns: BTreeMap::new(),
            writing: BTreeMap::new(),
            waiting: BTreeMap::new(),
            events: VecDeque::new(),
            last_waiter: 0,
            last_stream: max as u64,
        }
    }

    fn ask(&mut self, lane: LaneId, since: Instant) {
        self.last_waiter += 1;
        let (waiter, deadline) = (self.last_waiter, self.now + PATIENCE);
        self.waiting.insert(waiter, (lane, since));
        self.events.push_back(Event::Borrow { waiter, lane, since, deadline });
    }

    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            for action in self.state.handle(event, self.now) {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open => {
                self.last_stream += 1;
                self.events.push_back(Event::Opened { stream: self.last_stream });
            }
            Action::Lend { waiter, stream, .. } => {
                let (lane, _) = self.waiting.remove(&waiter).expect("it waits");
                *self.turns.entry(lane).or_default() += 1;
                self.writing.insert(stream, (lane, self.now));
            }
            Action::Deny { waiter, .. } => {
                let (lane, since) = self.waiting.remove(&waiter).expect("it waits");
                self.ask(lane, since);
            }
            Action::Finish { stream } => self.events.push_back(Event::Ended { stream }),
            Action::Abandon { .. } | Action::Forget { .. } => {}
        }
    }

    /// Some time passes; whoever has had its turn gives its stream back and asks for another.
    fn step(&mut self) {
        self.now += STEP;
        self.events.push_back(Event::Tick);
        self.settle();
        for (stream, (lane, since)) in self.writing.clone() {
            if self.now - since >= self.turn && self.state.is_short() {
                self.writing.remove(&stream);
                let actions = self.state.handle(Event::Returned { stream, condition: Condition::Clean }, self.now);
                assert_eq!(actions, [Action::Finish { stream }], "it makes room");
                actions.into_iter().for_each(|action| self.act(action));
                self.ask(lane, self.now);
            }
        }
        self.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A round of all lanes takes up to 19 s, and nobody waits longer than 5 s without asking anew.
    #[test]
    fn more_busy_lanes_than_slots_all_have_their_turns(lanes in 2..64_u64, max in 1..6_usize, turn in 1..4_u32) {
        let mut crowd = Crowd::new(max, STEP * turn);
        (1..=lanes).for_each(|lane| crowd.ask(LaneId(lane), crowd.now));
        crowd.settle();
        for _ in 0..3 * (lanes as u32).div_ceil(max as u32) * turn {
            crowd.step();
        }
        prop_assert_eq!(crowd.turns.len() as u64, lanes, "some never had a turn: {:?}", &crowd.turns);
        let (least, most) = (crowd.turns.values().min(), crowd.turns.values().max());
        if lanes as usize > max {
            prop_assert!(most <= least.map(|least| least + 2).as_ref(), "unfair: {:?}", &crowd.turns);
        }
    }
}

/// Also a node with a thousand protocols has one pool for them, and what an event costs must not grow with who waits.
#[test]
fn two_thousand_lanes_on_forty_eight_streams_all_have_their_turns() {
    let (lanes, max) = (2_000, 48);
    let mut crowd = Crowd::new(max, STEP);
    (1..=lanes).for_each(|lane| crowd.ask(LaneId(lane), crowd.now));
    crowd.settle();
    for _ in 0..2 * lanes.div_ceil(max as u64) {
        crowd.step();
    }
    assert_eq!(crowd.turns.len() as u64, lanes);
    assert!(crowd.turns.values().all(|turns| (1..=3).contains(turns)), "{:?}", crowd.turns);
}
