//! Random batches with random culprits: every other event is handled exactly once and in order, in a bounded number of
//! runs.

use proptest::prelude::*;

use super::*;

/// What an event does to a run that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Fails always.
    Poison,
    /// Fails always, and is such that it cannot be put aside; in the end it goes well.
    News {
        failures: u32,
    },
}

/// How the guest tells which event it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Honest,
    Silent,
    /// Always names the last event of the run.
    Lies,
}

/// A guest, and what became of the events.
struct Guest {
    kinds: Vec<Kind>,
    hook: Hook,
    /// Events of one run that its memory is enough for.
    room: usize,
    /// Decides whether a run fails for no reason.
    whims: Vec<bool>,
    handled: Vec<usize>,
    culprits: Vec<usize>,
    runs: usize,
    failed: usize,
}

impl Guest {
    fn new(kinds: Vec<Kind>, hook: Hook) -> Self {
        let (handled, culprits) = (Vec::new(), Vec::new());
        Self { kinds, hook, room: usize::MAX, whims: Vec::new(), handled, culprits, runs: 0, failed: 0 }
    }

    fn run(&mut self, run: &Run) -> Event {
        self.runs += 1;
        let events = run.events.clone();
        assert!(!events.is_empty() && !run.fresh | (events.len() == 1), "{run:?}");
        assert_eq!(events.start, self.handled.len() + self.culprits.len(), "what is settled never runs again");
        if self.whims.pop().unwrap_or(false) {
            self.failed += 1;
            return Event::Failed(Why::Guest { named: None });
        }
        let bad = events.clone().find(|at| self.kinds[*at] != Kind::Good);
        if let Some(bad) = bad {
            if let Kind::News { failures } = &mut self.kinds[bad] {
                *failures -= 1;
                if *failures == 0 {
                    self.kinds[bad] = Kind::Good;
                }
            }
            self.failed += 1;
            let named = match self.hook {
                Hook::Honest => Some(bad - events.start),
                Hook::Silent => None,
                Hook::Lies => Some(events.len() - 1),
            };
            return Event::Failed(Why::Guest { named });
        }
        if events.len() > self.room {
            self.failed += 1;
            return Event::Failed(Why::Memory);
        }
        self.handled.extend(events);
        Event::Went
    }

    fn play(&mut self, most: usize) -> Replay {
        let mut replay = Replay::new(self.kinds.len(), most);
        let mut next = replay.begin();
        loop {
            let event = match next {
                Next::Done => return replay,
                Next::Run(run) => self.run(&run),
                Next::Culprit(at) if matches!(self.kinds[at], Kind::News { .. }) => Event::Kept,
                // The last failure of news may be the one that made it a culprit.
                Next::Culprit(at)
                    if self.kinds[at] == Kind::Good && self.whims.is_empty() && self.hook != Hook::Lies =>
                {
                    Event::Kept
                }
                Next::Culprit(at) => {
                    assert_eq!(at, self.handled.len() + self.culprits.len());
                    self.culprits.push(at);
                    Event::Buried
                }
            };
            next = replay.handle(event);
        }
    }

    fn all(&self) -> Vec<usize> {
        let mut all = [&self.handled[..], &self.culprits[..]].concat();
        all.sort_unstable();
        all
    }

    fn in_order(&self) -> bool {
        self.handled.is_sorted() && self.culprits.is_sorted()
    }

    fn poisons(&self) -> Vec<usize> {
        (0..self.kinds.len()).filter(|at| self.kinds[*at] == Kind::Poison).collect()
    }
}

fn log2(n: usize) -> usize {
    n.max(1).next_power_of_two().trailing_zeros() as usize
}

fn kinds(most: usize) -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![9 => Just(Kind::Good), 1 => Just(Kind::Poison)];
    prop::collection::vec(kind, 0..most)
}

fn hooks() -> impl Strategy<Value = Hook> {
    prop_oneof![Just(Hook::Honest), Just(Hook::Silent), Just(Hook::Lies)]
}

proptest! {
    #[test]
    fn all_but_the_culprits_are_handled_once_and_in_order(kinds in kinds(300), hook in hooks(), most in 1..300_usize) {
        let mut guest = Guest::new(kinds, hook);
        let (n, poisons) = (guest.kinds.len(), guest.poisons());
        let replay = guest.play(most);
        prop_assert_eq!(&guest.culprits, &poisons);
        prop_assert_eq!(guest.all(), (0..n).collect::<Vec<_>>());
        prop_assert!(guest.in_order());
        prop_assert_eq!(replay.left(), n..n);
        let parts = n.div_ceil(most);
        prop_assert!(guest.runs <= poisons.len() * (log2(n) + 4) + parts.max(1), "{} runs", guest.runs);
    }

    #[test]
    fn failures_without_a_reason_cost_runs_and_nothing_else(
        kinds in kinds(64),
        hook in hooks(),
        whims in prop::collection::vec(any::<bool>(), 0..200),
        room in 1..64_usize,
    ) {
        let mut guest = Guest { whims, room, ..Guest::new(kinds, hook) };
        let (n, poisons) = (guest.kinds.len(), guest.poisons());
        let _ = guest.play(usize::MAX);
        prop_assert_eq!(guest.all(), (0..n).collect::<Vec<_>>());
        prop_assert!(guest.in_order());
        prop_assert!(poisons.iter().all(|at| guest.culprits.contains(at)));
        let bound = n * (log2(n) + 4) + log2(n) + 1 + guest.failed.min(n * (log2(n) + 4));
        prop_assert!(guest.runs <= bound, "{} runs", guest.runs);
    }

    #[test]
    fn want_of_memory_halves_and_blames_nobody(n in 1..300_usize, room in 1..300_usize) {
        let mut guest = Guest { room, ..Guest::new(vec![Kind::Good; n], Hook::Silent) };
        let replay = guest.play(usize::MAX);
        prop_assert_eq!(guest.handled.len(), n);
        prop_assert!(guest.failed <= log2(n));
        prop_assert_eq!(replay.only_together(), room < n);
    }

    #[test]
    fn news_that_fails_runs_until_it_goes_well(n in 1..100_usize, at in 0..100_usize, failures in 1..9_u32) {
        let at = at % n;
        let mut kinds = vec![Kind::Good; n];
        kinds[at] = Kind::News { failures };
        let mut guest = Guest::new(kinds, Hook::Honest);
        let _ = guest.play(usize::MAX);
        prop_assert_eq!(guest.handled, (0..n).collect::<Vec<_>>());
        prop_assert!(guest.runs <= failures as usize + 4);
    }
}

fn poisoned(n: usize, at: usize, hook: Hook) -> Guest {
    let mut guest = Guest::new(vec![Kind::Good; n], hook);
    guest.kinds[at] = Kind::Poison;
    let _ = guest.play(usize::MAX);
    assert_eq!(guest.culprits, [at]);
    guest
}

#[test]
fn a_named_culprit_takes_four_runs_and_an_unnamed_one_a_logarithm() {
    assert_eq!(poisoned(256, 100, Hook::Honest).runs, 4, "all, before, alone, after");
    assert_eq!(poisoned(256, 0, Hook::Honest).runs, 3);
    let worst = (0..256).map(|at| poisoned(256, at, Hook::Silent).runs).max();
    assert!(worst <= Some(11), "{worst:?}");
    let lies = (0..256).map(|at| poisoned(256, at, Hook::Lies).runs).max();
    assert!(lies <= Some(12), "{lies:?}");
}

#[test]
fn a_store_that_fails_changes_nothing() {
    let mut replay = Replay::new(3, 9);
    let first = replay.begin();
    assert_eq!(replay.handle(Event::Failed(Why::Store)), first);
    assert_eq!(replay.handle(Event::Went), Next::Done);
}

#[test]
fn an_event_that_is_short_of_memory_alone_is_tried_on_a_fresh_instance() {
    let mut replay = Replay::new(1, 9);
    assert_eq!(replay.begin(), Next::Run(Run { events: 0..1, fresh: false }));
    assert_eq!(replay.handle(Event::Failed(Why::Memory)), Next::Run(Run { events: 0..1, fresh: true }));
    assert_eq!(replay.handle(Event::Failed(Why::Memory)), Next::Culprit(0));
    assert_eq!(replay.handle(Event::Buried), Next::Done);
}
