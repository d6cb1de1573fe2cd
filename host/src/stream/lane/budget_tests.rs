//! Lanes that share a budget, over random sequences of events.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::connection::ConnectionId;
use crate::stream::OutFrame;
use crate::stream::lane::LaneLimits;
use crate::stream::lane::generation::StreamName;
use crate::stream::lane::state::{LaneState, News};

const LANES: usize = 6;
const LARGEST: usize = 3000;
/// One message above the soft limit fits; the lanes of all could hold twice as much.
const BUDGET: BudgetLimits = BudgetLimits { soft: 12_000, hard: 12_000 + LARGEST + 100, patience: Duration::ZERO };
const LANE: LaneLimits = LaneLimits { soft: 4000, hard: 4000 + LARGEST + 100 };

fn name(lane: usize) -> StreamName {
    (ConnectionId(1), lane as u64)
}

struct Party {
    state: LaneState,
    congested: bool,
    /// Found no room and has not heard `relieved` since.
    owed: bool,
    undelivered: u64,
    closed: bool,
}

struct Model {
    budget: BudgetState<usize>,
    lanes: Vec<Party>,
    /// Woken, and not told yet.
    woken: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize, usize),
    Answer(usize, usize),
    Write(usize),
    /// The writer is stuck with what it took.
    Take(usize),
    Fail(usize),
    GiveUp(usize),
    Close(usize),
    Tell,
}

fn any_step() -> impl Strategy<Value = Step> {
    let lane = 0..LANES;
    prop_oneof![
        40 => (lane.clone(), 1..LARGEST).prop_map(|(lane, size)| Step::Send(lane, size)),
        2 => (lane.clone(), 1..LARGEST).prop_map(|(lane, size)| Step::Answer(lane, size)),
        15 => lane.clone().prop_map(Step::Write),
        3 => lane.clone().prop_map(Step::Take),
        2 => lane.clone().prop_map(Step::Fail),
        2 => lane.clone().prop_map(Step::GiveUp),
        1 => lane.prop_map(Step::Close),
        20 => Just(Step::Tell),
    ]
}

impl Model {
    fn new() -> Self {
        let party =
            |_| Party { state: LaneState::new(LANE), congested: false, owed: false, undelivered: 0, closed: false };
        let lanes = (0..LANES).map(party).collect();
        Self { budget: BudgetState::new(BUDGET), lanes, woken: Vec::new() }
    }

    fn balance(&mut self, lane: usize, asked: bool) {
        let id = LaneId(lane as u64);
        let woken = self.lanes[lane].state.balance(id, asked, &mut self.budget, || lane);
        self.woken.extend(woken);
        self.hear(lane);
    }

    fn hear(&mut self, lane: usize) {
        let party = &mut self.lanes[lane];
        while let Some(news) = party.state.next_news() {
            match news {
                News::Undelivered(messages) => party.undelivered += messages,
                News::Congested => assert!(!std::mem::replace(&mut party.congested, true)),
                News::Relieved => {
                    assert!(std::mem::replace(&mut party.congested, false));
                    party.owed = false;
                }
            }
        }
    }

    fn room(&mut self, lane: usize) -> usize {
        self.balance(lane, true);
        self.lanes[lane].state.room(&self.budget)
    }

    fn push(&mut self, lane: usize, frame: OutFrame) {
        let frames = vec![frame];
        self.lanes[lane].state.reserve(&frames, &mut self.budget);
        self.lanes[lane].state.push(frames);
        self.balance(lane, true);
    }

    fn send(&mut self, lane: usize, size: usize) -> bool {
        if self.room(lane) == 0 {
            let party = &mut self.lanes[lane];
            party.owed = !party.closed;
            assert!(party.congested || party.closed, "no room without a word");
            return false;
        }
        let before = self.lanes[lane].undelivered;
        self.push(lane, OutFrame::Message(Bytes::from(vec![0; size])));
        assert_eq!(self.lanes[lane].undelivered, before, "what was promised did not fit");
        true
    }

    fn take(&mut self, lane: usize) {
        let state = &mut self.lanes[lane].state;
        if state.has_work() && !state.is_current(name(lane)) {
            state.open(name(lane));
        }
    }

    /// Writes one batch; all of it goes out, or none and the stream is over.
    fn write(&mut self, lane: usize, out: bool) {
        self.take(lane);
        let state = &mut self.lanes[lane].state;
        let mut batch = state.take(name(lane));
        if out {
            batch.pieces.iter_mut().for_each(Bytes::clear);
        } else {
            state.failed(name(lane), None);
        }
        state.settle(name(lane), batch);
        self.balance(lane, false);
    }

    fn tell(&mut self) {
        while let Some(lane) = self.woken.pop() {
            self.lanes[lane].state.starve(false);
            self.balance(lane, false);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(lane, size) => drop(self.send(lane, size)),
            Step::Answer(lane, size) => {
                self.push(lane, OutFrame::Answer { id: 1, body: Bytes::from(vec![0; size]) });
            }
            Step::Write(lane) => self.write(lane, true),
            Step::Take(lane) => self.take(lane),
            Step::Fail(lane) => self.write(lane, false),
            Step::GiveUp(lane) => self.lanes[lane].state.give_up(),
            Step::Close(lane) => {
                self.lanes[lane].closed = true;
                self.lanes[lane].state.close();
            }
            Step::Tell => self.tell(),
        }
        for lane in 0..LANES {
            self.balance(lane, false);
        }
        let held: usize = self.lanes.iter().map(|party| party.state.charged()).sum();
        assert_eq!(self.budget.used, held, "bytes were lost");
        assert!(held <= BUDGET.hard);
        assert!(self.budget.waiting.len() <= LANES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_promised_fits_and_who_was_refused_is_relieved(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut model = Model::new();
        for step in steps {
            // An answer may take the room of what was promised.
            if !matches!(step, Step::Answer(..)) || model.budget.used < BUDGET.soft / 2 {
                model.step(step);
            }
        }
        for lane in 0..LANES {
            while model.lanes[lane].state.has_work() {
                model.write(lane, true);
            }
        }
        model.tell();
        for party in &model.lanes {
            prop_assert!(!party.owed || party.closed, "still waiting with nothing queued");
        }
        prop_assert_eq!(model.budget.used, 0);
        prop_assert!(model.budget.waiting.is_empty());
    }

    /// Peers that take nothing, however many, leave room for one that does, while messages are small.
    #[test]
    fn stuck_lanes_leave_some_room(sizes in proptest::collection::vec(1..500_usize, 0..400)) {
        let mut model = Model::new();
        for (at, size) in sizes.into_iter().enumerate() {
            model.send(1 + at % (LANES - 1), size);
        }
        for _ in 0..20 {
            prop_assert!(model.send(0, 500));
            model.write(0, true);
            model.tell();
        }
    }
}

#[test]
fn a_lane_that_waits_is_relieved_when_another_drains() {
    let mut model = Model::new();
    for lane in 1..LANES {
        while model.send(lane, LARGEST) {}
    }
    assert!(!model.send(0, 1) && model.lanes[0].congested);
    model.write(1, true);
    model.tell();
    assert!(!model.lanes[0].congested && model.send(0, 1));
}

#[test]
fn what_is_above_the_hard_limit_is_undelivered_and_answers_fit() {
    let mut model = Model::new();
    for lane in 0..LANES {
        model.push(lane, OutFrame::Message(Bytes::from(vec![0; LARGEST])));
    }
    let lost: u64 = model.lanes.iter().map(|party| party.undelivered).sum();
    assert_eq!(lost, 1, "five fit, with their heads");
    let before = model.budget.used;
    model.push(0, OutFrame::Answer { id: 1, body: Bytes::from(vec![0; LARGEST]) });
    assert!(model.budget.used > before + LARGEST);
}
