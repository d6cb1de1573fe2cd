//! The lane's promises over random sequences of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::stream::BudgetLimits;
use crate::wire::{FrameDecoder, FrameKind};

const LIMITS: LaneLimits = LaneLimits { soft: 4000, hard: 20_000 };

/// A lane that has its owner's budget to itself, and more of it than it needs.
struct Alone {
    state: LaneState,
    budget: BudgetState<()>,
}

impl Alone {
    fn new() -> Self {
        let budget = BudgetState::new(BudgetLimits { soft: 1 << 30, hard: 1 << 30, patience: Duration::ZERO });
        Self { state: LaneState::new(LIMITS), budget }
    }

    fn push(&mut self, frames: Vec<OutFrame>) -> Vec<u64> {
        self.balance();
        self.state.reserve(&frames, &mut self.budget);
        let refused = self.state.push(frames);
        self.balance();
        refused
    }

    fn balance(&mut self) {
        assert!(self.state.balance(LaneId(1), true, &mut self.budget, || ()).is_empty());
    }

    fn room(&self) -> usize {
        self.state.room(&self.budget)
    }
}

impl std::ops::Deref for Alone {
    type Target = LaneState;

    fn deref(&self) -> &LaneState {
        &self.state
    }
}

impl std::ops::DerefMut for Alone {
    fn deref_mut(&mut self) -> &mut LaneState {
        &mut self.state
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        count: usize,
        size: usize,
        ask: bool,
    },
    /// The writer gets a stream (its parked one or a fresh one) and writes; only so many pieces are taken.
    Write {
        taken: usize,
        outcome: Option<StopCode>,
    },
    Park,
    PoolFinishes,
    Report {
        at: usize,
        more: u64,
    },
    End {
        at: usize,
        more: u64,
        code: Option<StopCode>,
    },
    Lose,
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let code = prop_oneof![
        5 => Just(None),
        1 => Just(Some(StopCode::HandlerGone)),
        1 => Just(Some(StopCode::Unregistered)),
    ];
    prop_oneof![
        30 => (1..6_usize, prop_oneof![0..300_usize, 4000..6000_usize], any::<bool>())
            .prop_map(|(count, size, ask)| Step::Push { count, size, ask }),
        30 => (0..12_usize, code.clone()).prop_map(|(taken, outcome)| Step::Write { taken, outcome }),
        10 => Just(Step::Park),
        3 => Just(Step::PoolFinishes),
        20 => (any::<usize>(), 0..40_u64).prop_map(|(at, more)| Step::Report { at, more }),
        8 => (any::<usize>(), 0..40_u64, code).prop_map(|(at, more, code)| Step::End { at, more, code }),
        2 => Just(Step::Lose),
        1 => Just(Step::Close),
    ]
}

/// What the peer's node has of one stream.
#[derive(Default)]
struct Far {
    bytes: Vec<Bytes>,
    reported: u64,
}

impl Far {
    /// The numbers of the messages in it, `None` for other frames. A stream that broke ends where it broke.
    fn frames(&self) -> Vec<Option<u64>> {
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut frames = Vec::new();
        for piece in &self.bytes {
            decoder.decode(piece.clone(), &mut frames).expect("well formed");
        }
        let number = |body: &Bytes| u64::from_be_bytes(body[..8].try_into().expect("eight bytes"));
        frames.iter().map(|frame| (frame.kind == FrameKind::Message).then(|| number(&frame.body))).collect()
    }
}

struct Model {
    state: Alone,
    lease: Option<StreamName>,
    connection: u64,
    streams: u64,
    far: HashMap<StreamName, Far>,
    delivered: BTreeSet<u64>,
    pushed: u64,
    undelivered: u64,
    congested: bool,
    generations: BTreeMap<u64, StreamName>,
}

impl Model {
    fn new() -> Self {
        Self {
            state: Alone::new(),
            lease: None,
            connection: 1,
            streams: 0,
            far: HashMap::new(),
            delivered: BTreeSet::new(),
            pushed: 0,
            undelivered: 0,
            congested: false,
            generations: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push { count, size, ask } => {
                let frame = |number: u64| {
                    let mut body = number.to_be_bytes().to_vec();
                    body.resize(8 + size, 0);
                    OutFrame::Message(body.into())
                };
                let mut frames: Vec<_> = (0..count as u64).map(|at| frame(self.pushed + at)).collect();
                self.pushed += count as u64;
                if ask {
                    frames.push(OutFrame::Request { id: self.pushed, timeout_ms: 1, body: Bytes::from(vec![0; 9]) });
                }
                self.state.push(frames);
                assert!(self.state.used() <= LIMITS.hard);
            }
            Step::Write { taken, outcome } => self.write(taken, outcome),
            Step::Park => self.lease = None,
            Step::PoolFinishes if self.lease.is_none() => {
                if let Some(name) = self.state.streams.current() {
                    self.state.finished(name);
                }
            }
            Step::PoolFinishes => {}
            Step::Report { at, more } => {
                if let Some((name, frames)) = self.report(at, more) {
                    self.state.progress(name, frames);
                }
            }
            Step::End { at, more, code } => {
                if let Some((name, frames)) = self.report(at, more) {
                    self.far.remove(&name);
                    let outcome = code.map_or(StreamOutcome::Finished, StreamOutcome::Stopped);
                    self.state.ended(name, frames, outcome);
                }
            }
            Step::Lose => {
                self.state.lost(ConnectionId(self.connection));
                self.connection += 1;
                (self.lease, _) = (None, self.far.clear());
            }
            Step::Close => self.state.close(),
        }
        self.hear();
    }

    fn write(&mut self, taken: usize, outcome: Option<StopCode>) {
        if !self.state.has_work() {
            return;
        }
        let name = match self.lease.or(self.state.streams.current()).filter(|name| self.state.is_current(*name)) {
            Some(name) => name,
            None => {
                self.streams += 1;
                let name = (ConnectionId(self.connection), self.streams);
                let opened = self.state.open(name);
                assert!(opened.after < opened.generation);
                assert!(self.generations.insert(opened.generation, name).is_none());
                self.far.insert(name, Far::default());
                name
            }
        };
        self.lease = Some(name);
        let mut batch = self.state.take(name);
        let whole = outcome.is_none();
        let taken = if whole { batch.pieces.len() } else { taken.min(batch.pieces.len()) };
        for piece in &mut batch.pieces[..taken] {
            let piece = std::mem::take(piece);
            if let Some(far) = self.far.get_mut(&name) {
                far.bytes.push(piece);
            }
        }
        if let Some(code) = outcome {
            self.state.failed(name, Some(code));
            self.lease = None;
        }
        self.state.settle(name, batch);
    }

    /// The peer hands over some more frames of a stream.
    fn report(&mut self, at: usize, more: u64) -> Option<(StreamName, u64)> {
        let mut names: Vec<_> = self.far.keys().copied().collect();
        names.sort_unstable();
        let name = *names.get(at.checked_rem(names.len())?)?;
        let far = self.far.get_mut(&name)?;
        let frames = far.frames();
        let upto = (far.reported + more).min(frames.len() as u64);
        for number in frames[far.reported as usize..upto as usize].iter().flatten() {
            assert!(self.delivered.insert(*number), "message {number} was written twice");
        }
        far.reported = upto;
        Some((name, upto))
    }

    fn hear(&mut self) {
        while let Some(news) = self.state.next_news() {
            match news {
                News::Undelivered(messages) => self.undelivered += messages,
                News::Congested => assert!(!std::mem::replace(&mut self.congested, true), "congested twice"),
                News::Relieved => assert!(std::mem::replace(&mut self.congested, false), "relieved twice"),
            }
        }
        if self.state.takes_any() && self.state.room() == 0 {
            assert!(self.congested, "no room without a word");
        }
        assert!(self.state.streams.open_count() <= self.far.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn everything_is_delivered_or_counted_and_nothing_twice(
        steps in proptest::collection::vec(any_step(), 0..120),
        close in any::<bool>(),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            prop_assert!(model.delivered.len() as u64 + model.undelivered <= 2 * model.pushed);
        }
        if close {
            model.step(Step::Close);
        }
        while model.state.has_work() {
            model.step(Step::Write { taken: 0, outcome: None });
        }
        model.step(Step::Lose);
        let accounted = model.delivered.len() as u64 + model.undelivered;
        prop_assert!(accounted >= model.pushed, "{accounted} of {}", model.pushed);
        prop_assert!(model.state.streams.open_count() == 0);
        prop_assert!(model.state.is_flushed());
    }
}

fn message(size: usize) -> OutFrame {
    OutFrame::Message(Bytes::from(vec![7; size]))
}

fn name(stream: u64) -> StreamName {
    (ConnectionId(1), stream)
}

/// Writes everything on the stream.
fn write_all(state: &mut LaneState, on: StreamName) {
    while state.has_work() {
        let mut batch = state.take(on);
        batch.pieces.iter_mut().for_each(Bytes::clear);
        state.settle(on, batch);
    }
}

#[test]
fn after_names_the_last_whole_generation_that_is_not_lost() {
    let mut state = Alone::new();
    let open = |state: &mut Alone, stream| {
        state.push(vec![message(1)]);
        let opened = state.open(name(stream));
        write_all(state, name(stream));
        (opened.generation, opened.after)
    };
    assert_eq!(open(&mut state, 1), (1, 0));
    // Lent another stream while the first was parked: the pool has finished that one.
    assert_eq!(open(&mut state, 2), (2, 1));
    state.failed(name(2), None);
    assert_eq!(open(&mut state, 3), (3, 1));
    state.ended(name(3), 1, StreamOutcome::Finished);
    assert_eq!(open(&mut state, 4), (4, 3));
    state.finished(name(4));
    state.lost(ConnectionId(1));
    assert_eq!(state.open((ConnectionId(2), 1)).after, 3);
    assert_eq!(state.next_news(), Some(News::Undelivered(3)), "of 1, 2 and 4; 3 was reported");
}

#[test]
fn what_does_not_fit_is_told_and_answers_always_fit() {
    let mut state = Alone::new();
    let big = |id| OutFrame::Request { id, timeout_ms: 1, body: Bytes::from(vec![0; 9000]) };
    let refused = state.push(vec![big(1), big(2), big(3), message(4000)]);
    assert_eq!(refused, [3]);
    assert_eq!(state.next_news(), Some(News::Undelivered(1)));
    assert_eq!(state.next_news(), Some(News::Congested));
    let before = state.used();
    state.push(vec![OutFrame::Answer { id: 1, body: Bytes::from(vec![0; 9000]) }]);
    assert!(state.used() > before + 9000);
}

#[test]
fn a_lane_stopped_as_unregistered_takes_nothing_more() {
    let mut state = Alone::new();
    state.push(vec![message(10)]);
    state.open(name(1));
    write_all(&mut state, name(1));
    state.push(vec![message(10)]);
    state.ended(name(1), 0, StreamOutcome::Stopped(StopCode::Unregistered));
    state.push(vec![message(10)]);
    assert_eq!((state.has_work(), state.room()), (false, 0));
    assert_eq!(state.next_news(), Some(News::Undelivered(3)));
    assert_eq!(state.next_news(), Some(News::Congested));
    state.close();
    state.push(vec![message(10)]);
    assert_eq!(state.next_news(), Some(News::Undelivered(1)));
    assert_eq!(state.next_news(), None);
}

#[test]
fn a_lane_is_at_home_where_its_last_stream_is_until_that_has_ended() {
    let mut state = Alone::new();
    let home = |connection, settled| Some(Home { connection: ConnectionId(connection), settled });
    assert_eq!(state.home(), None);
    state.push(vec![message(1)]);
    assert_eq!(state.open(name(1)).moved_from, None);
    write_all(&mut state, name(1));
    assert_eq!(state.home(), home(1, false), "its message is under way");
    state.progress(name(1), 1);
    assert_eq!(state.home(), home(1, true));
    state.finished(name(1));
    let other = (ConnectionId(2), 1);
    let opened = state.open(other);
    assert_eq!((opened.generation, opened.after, opened.moved_from), (2, 1, Some(ConnectionId(1))));
    assert_eq!(state.home(), home(2, true));
    state.push(vec![message(1)]);
    write_all(&mut state, other);
    state.lost(ConnectionId(1));
    assert_eq!(state.home(), home(2, false));
    state.lost(ConnectionId(2));
    assert_eq!((state.home(), state.next_news()), (None, Some(News::Undelivered(1))));
}

#[test]
fn streams_that_deliver_nothing_come_slower_and_slower() {
    let mut state = Alone::new();
    let mut pauses = Vec::new();
    for stream in 0..8 {
        state.push(vec![message(1)]);
        state.open(name(stream));
        write_all(&mut state, name(stream));
        state.ended(name(stream), 0, StreamOutcome::Stopped(StopCode::TooManyStreams));
        pauses.extend(state.pause().map(|pause| pause.as_millis()));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 3200, 3200]);
    state.push(vec![message(1)]);
    state.open(name(9));
    write_all(&mut state, name(9));
    state.progress(name(9), 1);
    assert_eq!(state.pause(), None);
}
