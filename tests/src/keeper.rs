//! What a peer saw of a keeper's turns, against what the keeper found in its store after a crash.

use std::collections::{BTreeMap, VecDeque};

use weir_host::plugin::store::Durability;

/// What a crash may lose of a relaxed plugin: as `docs/configuration.md` says.
pub const WINDOW_US: u64 = 50_000;
/// What a plugin's clock and the store's may differ by: both are read a moment before something else happens.
pub const ALLOWANCE_US: u64 = 10_000;
/// Turns of one run that are remembered: more than 50 ms of them.
const REMEMBERED: usize = 50_000;

/// A message of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It committed this turn.
    Turn {
        /// Which.
        turn: u64,
        /// When, in microseconds on its own clock.
        moment: u64,
        /// The messages it took.
        messages: u64,
    },
    /// It started.
    Start {
        /// The last turn it found.
        found: u64,
        /// Whether all that it found agreed.
        whole: bool,
        /// No other start has the same.
        start: u64,
    },
}

/// Reads a message of a keeper.
pub fn read(body: &[u8]) -> Option<Told> {
    let (kind, rest) = body.split_first()?;
    let (numbers, []) = rest.as_chunks::<8>() else { return None };
    let &[first, second, third] = numbers else { return None };
    let [first, second, third] = [first, second, third].map(u64::from_le_bytes);
    match kind {
        b'T' => Some(Told::Turn { turn: first, moment: second, messages: third }),
        b'R' => Some(Told::Start { found: first, whole: second == 1, start: third }),
        _ => None,
    }
}

/// What became of a keeper's turns, over many runs of its node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Starts that told what they found.
    pub starts: u64,
    /// Turns that were seen.
    pub turns: u64,
    /// Starts that found a turn that was there by half, or one missing before the last.
    pub torn: u64,
    /// Starts that did not find what the peer had seen of the run before.
    pub losses: u64,
    /// Turns that were seen and not found.
    pub lost: u64,
    /// The longest time between the first and the last turn that one crash lost, in microseconds.
    pub window: u64,
    /// Turns that a command was answered for and that were not found.
    pub lost_answers: u64,
}

/// What was seen of one run, and what the next start found of it.
#[derive(Debug, Default)]
struct Before {
    /// Turns and their moments.
    seen: Vec<(u64, u64)>,
    found: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Watched {
    /// How the keeper runs.
    pub durability: Durability,
    start: Option<u64>,
    /// Turns of this run, and their moments.
    seen: VecDeque<(u64, u64)>,
    /// The last turn that a command was answered for, by start.
    answered: BTreeMap<u64, u64>,
    before: Before,
    /// What came of it so far.
    pub totals: Totals,
}

impl Watched {
    /// Of a keeper that was not seen yet.
    pub fn new(durability: Durability) -> Self {
        let (seen, before, totals) = (VecDeque::new(), Before::default(), Totals::default());
        Self { durability, start: None, seen, answered: BTreeMap::new(), before, totals }
    }

    /// Whether turns of a run that came after `starts` starts were seen.
    pub fn runs(&self, starts: u64) -> bool {
        self.totals.starts > starts && !self.seen.is_empty()
    }

    /// A command was answered with this turn, by the instance that this start made. It may be heard before what the
    /// start itself told, or after it was killed.
    pub fn answered(&mut self, turn: u64, start: u64) {
        let last = self.answered.entry(start).or_default();
        *last = turn.max(*last);
    }

    /// Takes a message in.
    pub fn hear(&mut self, told: Told) {
        match told {
            Told::Turn { turn, moment, .. } => {
                self.totals.turns += 1;
                self.seen.push_back((turn, moment));
                if self.seen.len() > REMEMBERED {
                    self.seen.pop_front();
                }
            }
            Told::Start { found, whole, start } => {
                if self.start.replace(start) != Some(start) {
                    self.compare(found, whole, start);
                }
            }
        }
    }

    /// The keeper started anew: what is there of what it had told?
    fn compare(&mut self, found: u64, whole: bool, start: u64) {
        self.totals.starts += 1;
        self.totals.torn += u64::from(!whole);
        let own = self.answered.remove(&start);
        let answered = std::mem::take(&mut self.answered).into_values().max().unwrap_or_default();
        self.answered.extend(own.map(|turn| (start, turn)));
        self.totals.lost_answers += answered.saturating_sub(found);
        self.before = Before { seen: self.seen.drain(..).collect(), found };
        let lost: Vec<_> = self.before.seen.iter().filter(|(turn, _)| *turn > found).collect();
        if let Some((last, until)) = lost.last() {
            self.totals.losses += 1;
            self.totals.lost += last - found;
            // The first lost turn was committed before the next one began.
            let since = lost.iter().find(|(turn, _)| *turn > found + 1).map_or(*until, |(_, moment)| *moment);
            self.totals.window = self.totals.window.max(until.saturating_sub(since));
        }
    }

    /// Whether what was left of the last run of this keeper's node is a prefix of the turns of both: what `other` had
    /// committed before a turn of this one that is there, is there, too. Both run on the clock of one node.
    pub fn is_prefix_with(&self, other: &Self) -> bool {
        let Before { seen, found } = &self.before;
        let Some((_, moment)) = seen.iter().rfind(|(turn, _)| turn <= found) else { return true };
        // A turn was committed when the next one had begun; the last of these two may not have been.
        let begun = other.before.seen.iter().rfind(|(_, begun)| begun <= moment);
        begun.is_none_or(|(turn, _)| other.before.found + 1 >= *turn)
    }

    /// Panics when something is lost that must not be.
    ///
    /// # Panics
    /// See above.
    pub fn check(&self) {
        let Totals { torn, lost, window, lost_answers, .. } = self.totals;
        assert_eq!((torn, lost_answers), (0, 0), "torn turns and lost answers: {:?}", self.totals);
        match self.durability {
            Durability::Strict => assert_eq!(lost, 0, "a message left before its writes were on the disk"),
            Durability::Relaxed => {
                assert!(window <= WINDOW_US + ALLOWANCE_US, "{window} µs of turns were lost, {WINDOW_US} are stated");
            }
        }
    }
}
