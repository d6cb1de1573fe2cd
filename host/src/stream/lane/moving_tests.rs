//! One lane over several connections against the receiver's order: whatever is lost and whichever way around things
//! come, messages are handed over in order and at most once, and each one or counted as lost.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::stream::receive::{LaneOrder, Turn};
use crate::wire::StopCode;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Step {
    /// Messages on the lane's stream, or on a new one of the connection in that place.
    Write {
        count: usize,
        connection: usize,
    },
    /// The pool makes room with the lane's stream, or drains.
    Finish,
    /// The header of a stream comes.
    Come(usize),
    /// The receiver takes messages of the stream that it reads.
    Take(usize),
    /// A report of the receiver comes.
    Report(usize),
    /// The sender, or the receiver, notices that a connection is gone.
    LoseNear(usize),
    LoseFar(usize),
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..5_usize, 0..3_usize).prop_map(|(count, connection)| Step::Write { count, connection }),
        8 => Just(Step::Finish),
        15 => any::<usize>().prop_map(Step::Come),
        20 => (1..6_usize).prop_map(Step::Take),
        10 => (0..3_usize).prop_map(Step::Report),
        2 => (0..3_usize).prop_map(Step::LoseNear),
        2 => (0..3_usize).prop_map(Step::LoseFar),
        2 => (1..12_u64).prop_map(Step::Pass),
    ]
}

struct Sent {
    name: StreamName,
    opened: Opened,
    messages: Vec<u64>,
    finished: bool,
    /// Whether its header has come.
    seen: bool,
    taken: usize,
    /// Whether the receiver is done with it.
    over: bool,
}

struct Connection {
    id: ConnectionId,
    near: bool,
    far: bool,
    reports: VecDeque<(StreamName, u64, StreamOutcome)>,
}

struct Model {
    now: Instant,
    sender: Streams,
    order: LaneOrder,
    connections: Vec<Connection>,
    sent: Vec<Sent>,
    reading: Option<u64>,
    pushed: u64,
    lost: u64,
    taken: Vec<u64>,
    names: u64,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            now: Instant::now(),
            sender: Streams::default(),
            order: LaneOrder::default(),
            connections: Vec::new(),
            sent: Vec::new(),
            reading: None,
            pushed: 0,
            lost: 0,
            taken: Vec::new(),
            names: 0,
        };
        (0..3).for_each(|at| model.connect(at));
        model
    }

    fn connect(&mut self, at: usize) {
        self.names += 1;
        let connection = Connection { id: ConnectionId(self.names), near: true, far: true, reports: VecDeque::new() };
        if at < self.connections.len() { self.connections[at] = connection } else { self.connections.push(connection) }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { count, connection } => self.write(count, connection),
            Step::Finish => self.finish(),
            Step::Come(at) => self.come(at),
            Step::Take(count) => self.take(count),
            Step::Report(at) => self.report(at),
            Step::LoseNear(at) => self.lose_near(at),
            Step::LoseFar(at) => self.lose_far(at),
            Step::Pass(seconds) => {
                self.now += Duration::from_secs(seconds);
                let mut turns = Vec::new();
                self.order.tick(self.now, &mut turns);
                self.turn(turns);
            }
        }
    }

    fn sent(&mut self, name: StreamName) -> &mut Sent {
        self.sent.iter_mut().find(|sent| sent.name == name).expect("it was opened")
    }

    fn write(&mut self, count: usize, connection: usize) {
        if !self.connections[connection].near {
            return;
        }
        let wanted = self.connections[connection].id;
        let name = match self.sender.current() {
            Some(name) if name.0 == wanted => name,
            _ => {
                // A lane that moves finishes its parked stream before it has another.
                self.finish();
                self.names += 1;
                let name = (wanted, self.names);
                let opened = self.sender.open(name);
                let (messages, finished, seen, taken, over) = (Vec::new(), false, false, 0, false);
                self.sent.push(Sent { name, opened, messages, finished, seen, taken, over });
                name
            }
        };
        let messages = self.pushed..self.pushed + count as u64;
        self.pushed = messages.end;
        self.sent(name).messages.extend(messages);
        self.sender.writes(name);
        let count = Count { frames: count as u64, messages: count as u64 };
        self.lost += self.sender.wrote(name, std::iter::once(count));
    }

    fn finish(&mut self) {
        if let Some(name) = self.sender.current() {
            self.sender.finished(name);
            self.sent(name).finished = true;
        }
    }

    fn connection_of(&self, name: StreamName) -> Option<usize> {
        self.connections.iter().position(|connection| connection.id == name.0)
    }

    fn far(&self, name: StreamName) -> bool {
        self.connection_of(name).is_some_and(|at| self.connections[at].far)
    }

    fn come(&mut self, at: usize) {
        let coming: Vec<_> = self.sent.iter().filter(|sent| !sent.seen && !sent.over).map(|sent| sent.name).collect();
        let coming: Vec<_> = coming.into_iter().filter(|name| self.far(*name)).collect();
        let Some(name) = at.checked_rem(coming.len()).map(|at| coming[at]) else { return };
        let Opened { generation, after, .. } = self.sent(name).opened;
        self.sent(name).seen = true;
        let mut turns = Vec::new();
        match self.order.arrive(generation, after, self.now, PATIENCE, &mut turns) {
            Ok(()) => self.turn(turns),
            Err(code) => {
                assert_eq!(code, StopCode::Superseded);
                self.sent(name).over = true;
                self.say(name, 0, StreamOutcome::Stopped(code));
            }
        }
    }

    fn turn(&mut self, turns: Vec<Turn>) {
        let mut stopped = Vec::new();
        for turn in turns {
            match turn {
                Turn::Start(generation) => {
                    assert_eq!(self.reading, None);
                    self.reading = Some(generation);
                }
                Turn::Stop(generation, code) => stopped.push((generation, code)),
            }
        }
        for (generation, code) in stopped {
            self.end(generation, StreamOutcome::Stopped(code));
        }
    }

    /// The receiver is done with a stream.
    fn end(&mut self, generation: u64, outcome: StreamOutcome) {
        let sent = self.sent.iter_mut().find(|sent| sent.opened.generation == generation).expect("it was opened");
        if std::mem::replace(&mut sent.over, true) {
            return;
        }
        let (name, taken) = (sent.name, sent.taken as u64);
        self.say(name, taken, outcome);
        if self.reading == Some(generation) {
            self.reading = None;
        }
        let mut turns = Vec::new();
        self.order.ended(generation, self.now, &mut turns);
        self.turn(turns);
    }

    fn say(&mut self, name: StreamName, frames: u64, outcome: StreamOutcome) {
        if let Some(at) = self.connection_of(name) {
            self.connections[at].reports.push_back((name, frames, outcome));
        }
    }

    fn take(&mut self, count: usize) {
        let Some(generation) = self.reading else { return };
        let sent = self.sent.iter_mut().find(|sent| sent.opened.generation == generation).expect("it was opened");
        let upto = (sent.taken + count).min(sent.messages.len());
        for message in &sent.messages[sent.taken..upto] {
            assert!(self.taken.last() < Some(message), "{message} after {:?}", self.taken.last());
            self.taken.push(*message);
        }
        sent.taken = upto;
        if sent.finished && upto == sent.messages.len() {
            self.end(generation, StreamOutcome::Finished);
        }
    }

    fn report(&mut self, at: usize) {
        let Some((name, frames, outcome)) = self.connections[at].reports.pop_front() else { return };
        if self.connections[at].near {
            self.lost += self.sender.ended(name, frames, outcome);
        }
    }

    fn lose_near(&mut self, at: usize) {
        self.connections[at].near = false;
        self.lost += self.sender.lost(self.connections[at].id);
        self.replace(at);
    }

    fn lose_far(&mut self, at: usize) {
        self.connections[at].far = false;
        let id = self.connections[at].id;
        let gone = self.sent.iter().filter(|sent| sent.name.0 == id && sent.seen && !sent.over);
        for generation in gone.map(|sent| sent.opened.generation).collect::<Vec<_>>() {
            self.end(generation, StreamOutcome::Stopped(StopCode::Closing));
        }
        self.replace(at);
    }

    /// When both have noticed, another takes the place.
    fn replace(&mut self, at: usize) {
        if !self.connections[at].near && !self.connections[at].far {
            let id = self.connections[at].id;
            self.sent.iter_mut().filter(|sent| sent.name.0 == id).for_each(|sent| sent.over = true);
            self.connect(at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_lane_keeps_its_order_over_several_connections(steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        // Whoever has noticed a loss is followed by the other side; then everything comes that can.
        for at in 0..3 {
            match (model.connections[at].near, model.connections[at].far) {
                (true, false) => model.lose_near(at),
                (false, true) => model.lose_far(at),
                _ => {}
            }
        }
        model.finish();
        for at in 0..2 * model.sent.len() {
            model.step(Step::Come(at));
            model.step(Step::Pass(11));
            (0..3 + model.sent.len()).for_each(|_| model.step(Step::Take(usize::MAX / 2)));
            (0..3).for_each(|at| model.step(Step::Report(at)));
        }
        while let Some(at) = model.connections.iter().position(|connection| !connection.reports.is_empty()) {
            model.step(Step::Report(at));
        }
        prop_assert!(model.sent.iter().all(|sent| sent.over), "a stream was neither read nor stopped");
        prop_assert_eq!(model.sender.home(), None);
        let accounted = model.taken.len() as u64 + model.lost;
        prop_assert!(accounted >= model.pushed, "{accounted} of {}", model.pushed);
    }

    /// Without a loss and in time, nothing is lost.
    #[test]
    fn a_lane_that_moves_loses_nothing(
        steps in proptest::collection::vec((1..5_usize, 0..3_usize, any::<usize>(), 0..6_usize), 0..60),
    ) {
        let mut model = Model::new();
        for (count, connection, at, taken) in steps {
            model.step(Step::Write { count, connection });
            model.step(Step::Come(at));
            model.step(Step::Take(taken));
        }
        model.finish();
        for _ in 0..model.sent.len() {
            model.step(Step::Come(0));
            (0..3).for_each(|_| model.step(Step::Take(usize::MAX / 2)));
        }
        (0..model.sent.len()).for_each(|_| model.step(Step::Take(usize::MAX / 2)));
        prop_assert_eq!(model.taken, (0..model.pushed).collect::<Vec<_>>());
    }
}
