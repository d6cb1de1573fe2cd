//! The wheel against the plain thing it replaces: the same timers, in the same order, at the same time.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Timers by id, and the order in which they fall due.
#[derive(Default)]
struct Model {
    due: BTreeMap<u64, Duration>,
    order: BTreeSet<(Duration, u64)>,
}

impl Model {
    fn set(&mut self, id: u64, after: Duration, now: Duration) {
        self.cancel(id);
        let at = now + after.min(LONGEST);
        self.due.insert(id, at);
        self.order.insert((at, id));
    }

    fn cancel(&mut self, id: u64) {
        if let Some(at) = self.due.remove(&id) {
            self.order.remove(&(at, id));
        }
    }

    fn take_due(&mut self, now: Duration, most: usize) -> Vec<u64> {
        let due: Vec<_> = self.order.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, id)| *id).collect();
        due.iter().for_each(|id| self.cancel(*id));
        due
    }
}

#[test]
fn timers_fall_due_in_order_and_once() {
    let mut timers = Timers::<Duration>::default();
    timers.set(1, ms(30), ms(0));
    timers.set(2, ms(10), ms(0));
    timers.set(3, ms(10), ms(0));
    timers.set(1, ms(5), ms(0));
    assert_eq!(timers.next(), Some(ms(5)));
    assert!(timers.take_due(ms(4), 9).is_empty());
    assert_eq!(timers.take_due(ms(10), 2), [1, 2]);
    timers.cancel(3);
    assert_eq!((timers.len(), timers.next()), (0, None));
    assert!(timers.entries.is_empty() && timers.wheel.is_none());
}

#[test]
fn a_hostile_delay_is_cut() {
    let mut timers = Timers::<Instant>::default();
    timers.set(1, ms(u64::MAX), Instant::now());
    assert!(timers.contains(1));
}

#[test]
fn a_timer_is_looked_for_once_a_level_and_never_in_vain_twice() {
    for after in [0, 1, 63, 64, 4_095, 4_096, 1_000_000, 86_400_000, LONGEST.as_millis() as u64] {
        let mut timers = Timers::<Duration>::default();
        let start = Duration::from_micros(1_234_567_891);
        timers.set(7, ms(after), start);
        let (mut looks, mut now) = (0, start);
        let fired = loop {
            let next = timers.next().expect("one is set").max(now);
            assert!(looks == 0 || next > now, "it looks twice at the same time");
            (now, looks) = (next, looks + 1);
            if timers.take_due(now, 9) == [7] {
                break now;
            }
        };
        assert_eq!(fired, start + ms(after));
        assert!(looks <= LEVELS + 1, "{looks} looks for {after} ms");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u64, Duration),
    Cancel(u64),
    Pass(Duration, usize),
}

fn delay() -> impl Strategy<Value = Duration> {
    let micros = |most: u64| (0..most).prop_map(Duration::from_micros);
    prop_oneof![
        4 => micros(3_000),
        4 => micros(300_000),
        2 => micros(20_000_000),
        1 => micros(10_000_000_000_000),
        1 => Just(Duration::from_millis(u64::MAX)),
        1 => Just(Duration::ZERO),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u64..40, delay()).prop_map(|(id, after)| Step::Set(id, after)),
        2 => (0_u64..40).prop_map(Step::Cancel),
        3 => (delay(), 0_usize..12).prop_map(|(time, most)| Step::Pass(time.min(Duration::from_secs(1_000_000)), most)),
    ]
}

proptest! {
    #[test]
    fn the_wheel_does_what_the_model_does(start in 0_u64..1_000_000_000_000, steps in prop::collection::vec(step(), 1..200)) {
        let (mut timers, mut model) = (Timers::<Duration>::default(), Model::default());
        let mut now = Duration::from_nanos(start);
        for step in steps {
            match step {
                Step::Set(id, after) => {
                    timers.set(id, after, now);
                    model.set(id, after, now);
                }
                Step::Cancel(id) => {
                    timers.cancel(id);
                    model.cancel(id);
                }
                Step::Pass(time, most) => {
                    now += time;
                    prop_assert_eq!(timers.take_due(now, most), model.take_due(now, most));
                }
            }
            prop_assert_eq!(timers.len(), model.due.len());
            prop_assert!((0..40).all(|id| timers.contains(id) == model.due.contains_key(&id)));
            let first = model.order.first().map(|(at, _)| *at);
            prop_assert_eq!(timers.next().is_some(), first.is_some());
            prop_assert!(timers.next() <= first, "it would be late");
        }
        prop_assert_eq!(timers.take_due(now + LONGEST, usize::MAX), model.take_due(now + LONGEST, usize::MAX));
        prop_assert!(timers.entries.is_empty());
    }
}

/// Sets, moves, and lets fall due; a hundred thousand of them, as fast as it goes.
fn play(mut set: impl FnMut(u64, Duration, Duration), mut due: impl FnMut(Duration) -> usize, count: u64) -> Duration {
    let began = Instant::now();
    // A fixed walk: the same for both.
    let mut seed = 42_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for round in 0..4 {
        (0..count).for_each(|id| set(id, ms(1 + draw() % 60_000), ms(round)));
    }
    let mut taken = 0;
    for now in (0..=60_010).step_by(10) {
        taken += due(ms(now));
    }
    assert_eq!(taken as u64, count);
    began.elapsed()
}

#[test]
fn it_is_no_slower_than_an_ordered_map() {
    const COUNT: u64 = 100_000;
    let timers = std::cell::RefCell::new(Timers::<Duration>::default());
    let wheel = play(
        |id, after, now| timers.borrow_mut().set(id, after, now),
        |now| timers.borrow_mut().take_due(now, usize::MAX).len(),
        COUNT,
    );
    let model = std::cell::RefCell::new(Model::default());
    let tree = play(
        |id, after, now| model.borrow_mut().set(id, after, now),
        |now| model.borrow_mut().take_due(now, usize::MAX).len(),
        COUNT,
    );
    eprintln!("{COUNT} timers set, moved three times and taken: wheel {wheel:?}, two ordered maps {tree:?}");
    // Not a race: on a busy machine either may be stopped for a while.
    assert!(wheel < tree * 3, "{wheel:?} against {tree:?}");
}
