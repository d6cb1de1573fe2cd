//! The order of generations over random arrivals.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Model {
    order: LaneOrder,
    open: BTreeMap<u64, u64>,
    started: Vec<u64>,
    reading: Option<u64>,
    stopped: BTreeSet<u64>,
}

impl Model {
    fn apply(&mut self, turns: Vec<Turn>) {
        let mut ended = Vec::new();
        for turn in turns {
            match turn {
                Turn::Start(generation) => {
                    assert_eq!(self.reading, None, "two at once");
                    assert!(self.started.last() < Some(&generation), "not in order");
                    assert!(self.open.contains_key(&generation));
                    let after = self.open[&generation];
                    assert!(after == 0 || !self.open.contains_key(&after), "{after} is open, and was to be read first");
                    self.reading = Some(generation);
                    self.started.push(generation);
                }
                Turn::Stop(generation, _) => {
                    assert!(self.open.contains_key(&generation));
                    self.stopped.insert(generation);
                    ended.push(generation);
                }
            }
        }
        // Their readers end at some time later; here after everything of this event is done.
        for generation in ended {
            if self.open.contains_key(&generation) {
                self.end(generation, Instant::now());
            }
        }
    }

    fn arrive(&mut self, generation: u64, after: u64, now: Instant) {
        let mut turns = Vec::new();
        self.open.insert(generation, after);
        match self.order.arrive(generation, after, now, PATIENCE, &mut turns) {
            Ok(()) => self.apply(turns),
            Err(_) => drop(self.open.remove(&generation)),
        }
    }

    fn end(&mut self, generation: u64, now: Instant) {
        self.open.remove(&generation);
        if self.reading == Some(generation) {
            self.reading = None;
        }
        let mut turns = Vec::new();
        self.order.ended(generation, now, &mut turns);
        self.apply(turns);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_whole_chain_is_read_whole_however_it_arrives(
        order in Just((1..8_u64).collect::<Vec<_>>()).prop_shuffle(),
        read_between in proptest::collection::vec(any::<bool>(), 8),
    ) {
        let now = Instant::now();
        let mut model = Model::default();
        for (generation, read) in order.into_iter().zip(read_between) {
            model.arrive(generation, generation - 1, now);
            if let Some(reading) = model.reading.filter(|_| read) {
                model.end(reading, now);
            }
        }
        while let Some(reading) = model.reading {
            model.end(reading, now);
        }
        prop_assert_eq!(model.started, (1..8).collect::<Vec<_>>());
        prop_assert!(model.stopped.is_empty());
    }

    #[test]
    fn every_arrival_is_started_or_stopped_whatever_never_comes(
        arrivals in proptest::collection::vec((1..12_u64, 0..12_u64, 0..6_u64, any::<bool>()), 0..30),
    ) {
        let mut now = Instant::now();
        let mut model = Model::default();
        for (generation, after, seconds, end) in arrivals {
            now += Duration::from_secs(seconds);
            if !model.open.contains_key(&generation) {
                model.arrive(generation, after, now);
            }
            if let Some(reading) = model.reading.filter(|_| end) {
                model.end(reading, now);
            }
        }
        now += PATIENCE;
        while !model.open.is_empty() {
            let mut turns = Vec::new();
            model.order.tick(now, &mut turns);
            let open = model.open.len();
            model.apply(turns);
            if let Some(reading) = model.reading {
                model.end(reading, now);
            }
            prop_assert!(model.open.len() < open, "stuck with {:?}", model.order);
        }
        prop_assert!(model.order.is_idle());
    }
}

#[test]
fn a_newer_generation_stops_what_it_does_not_name() {
    let now = Instant::now();
    let mut order = LaneOrder::default();
    let mut turns = Vec::new();
    order.arrive(1, 0, now, PATIENCE, &mut turns).expect("fits");
    order.arrive(2, 0, now, PATIENCE, &mut turns).expect("fits");
    assert_eq!(turns, [Turn::Start(1), Turn::Stop(1, StopCode::Superseded)]);
    order.ended(1, now, &mut turns);
    assert_eq!(turns[2..], [Turn::Start(2)]);
    assert_eq!(order.arrive(1, 0, now, PATIENCE, &mut turns), Err(StopCode::Superseded));
    assert_eq!(order.arrive(3, 3, now, PATIENCE, &mut turns), Err(StopCode::Malformed));
}

#[test]
fn an_unseen_generation_is_waited_for_ten_seconds() {
    let now = Instant::now();
    let mut order = LaneOrder::default();
    let mut turns = Vec::new();
    order.arrive(3, 2, now, PATIENCE, &mut turns).expect("fits");
    order.tick(now + PATIENCE / 2, &mut turns);
    assert_eq!(turns, []);
    order.tick(now + PATIENCE, &mut turns);
    assert_eq!(turns, [Turn::Start(3)]);
    assert_eq!(order.arrive(2, 1, now + PATIENCE, PATIENCE, &mut turns), Err(StopCode::Superseded));
}
