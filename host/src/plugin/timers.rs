//! The timers of one plugin: which ids, when due. A hierarchical wheel; pure; they outlive instances and revisions.
//!
//! Time is counted in milliseconds from the first timer on. A level of the wheel has 64 slots, each as long as the whole
//! level below; a timer lies in the slot of the highest digit (to base 64) in which its time differs from now, and moves
//! down when that slot begins. To set, move or cancel one costs the same however many there are; one that is due was
//! moved six times at most. What falls into the current millisecond is ordered exactly, by time and then by id.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Longest a timer can be set, so that a hostile number cannot overflow a date: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Bits of one digit.
const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// Digits: enough for 139 years of milliseconds, which is more than a node runs and [`LONGEST`] together.
const LEVELS: usize = 7;
const LAST_TICK: u64 = (1 << (BITS * LEVELS)) - 1;
/// No entry.
const NONE: u32 = u32::MAX;

/// Where a timer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Slot {
        level: u8,
        slot: u8,
    },
    /// Among those whose millisecond has come.
    Soon,
}

/// A timer, linked to the others of its slot; or a free entry, linked to the next free one.
#[derive(Debug)]
struct Entry<N> {
    id: u64,
    at: N,
    place: Place,
    before: u32,
    after: u32,
}

/// The first entry of each slot, and which slots have one.
#[derive(Debug)]
struct Wheel {
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
}

/// See the module. `N` is a point in time.
#[derive(Debug)]
pub(super) struct Timers<N> {
    ids: HashMap<u64, u32>,
    entries: Vec<Entry<N>>,
    free: u32,
    /// Made with the first timer: most plugins have none.
    wheel: Option<Box<Wheel>>,
    origin: Option<N>,
    /// Everything up to this millisecond has left the wheel.
    tick: u64,
    soon: BTreeSet<(N, u64)>,
}

impl<N> Default for Timers<N> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            entries: Vec::new(),
            free: NONE,
            wheel: None,
            origin: None,
            tick: 0,
            soon: BTreeSet::new(),
        }
    }
}

impl<N: Copy + Ord + Add<Duration, Output = N> + Sub<N, Output = Duration>> Timers<N> {
    /// Sets or moves a timer.
    pub(super) fn set(&mut self, id: u64, after: Duration, now: N) {
        self.cancel(id);
        if self.ids.is_empty() {
            (self.origin, self.tick) = (Some(now), 0);
        }
        let entry = self.allocate(id, now + after.min(LONGEST));
        self.ids.insert(id, entry);
        self.place(entry);
    }

    pub(super) fn cancel(&mut self, id: u64) {
        let Some(entry) = self.ids.remove(&id) else { return };
        let Entry { at, place, .. } = self.entries[entry as usize];
        match place {
            Place::Soon => drop(self.soon.remove(&(at, id))),
            Place::Slot { level, slot } => self.unlink(entry, level as usize, slot as usize),
        }
        self.release(entry);
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.ids.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// When to look for due ones: not after the next one falls due, and before that not more than once for each level
    /// of the wheel. After [`Timers::take_due`] took all, it is in the future.
    pub(super) fn next(&self) -> Option<N> {
        if let Some(&(at, _)) = self.soon.first() {
            return Some(at);
        }
        let (_, _, start) = self.first_slot()?;
        self.origin.map(|origin| origin + Duration::from_millis(start))
    }

    /// Takes those that are due, the earliest first, at most `most`.
    pub(super) fn take_due(&mut self, now: N, most: usize) -> Vec<u64> {
        if let Some(origin) = self.origin {
            self.turn(tick_of(now - origin));
        }
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&(at, id)) = self.soon.first()
            && at <= now
        {
            self.soon.pop_first();
            if let Some(entry) = self.ids.remove(&id) {
                self.release(entry);
            }
            due.push(id);
        }
        due
    }

    /// Moves everything that falls into `to` or before out of the wheel.
    fn turn(&mut self, to: u64) {
        while let Some((level, slot, start)) = self.first_slot()
            && start <= to
        {
            self.tick = start;
            let mut next = self.take_slot(level, slot);
            while next != NONE {
                let entry = next;
                next = self.entries[entry as usize].after;
                self.place(entry);
            }
        }
        self.tick = self.tick.max(to);
    }

    /// The slot that begins first, and when. Lower levels come first: what lies higher differs in a higher digit.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let wheel = self.wheel.as_ref()?;
        let level = wheel.occupied.iter().position(|slots| *slots != 0)?;
        let slot = wheel.occupied[level].trailing_zeros() as usize;
        let above = BITS * (level + 1);
        Some((level, slot, self.tick >> above << above | (slot as u64) << (BITS * level)))
    }

    fn take_slot(&mut self, level: usize, slot: usize) -> u32 {
        let Some(wheel) = &mut self.wheel else { return NONE };
        wheel.occupied[level] &= !(1 << slot);
        std::mem::replace(&mut wheel.heads[level][slot], NONE)
    }

    /// Puts an entry where its time belongs as seen from the current tick.
    fn place(&mut self, entry: u32) {
        let Entry { id, at, .. } = self.entries[entry as usize];
        let tick = self.origin.map_or(0, |origin| tick_of(at - origin));
        let different = tick ^ self.tick;
        if tick <= self.tick {
            self.entries[entry as usize].place = Place::Soon;
            self.soon.insert((at, id));
            return;
        }
        let level = different.ilog2() as usize / BITS;
        let slot = (tick >> (BITS * level)) as usize % SLOTS;
        self.link(entry, level, slot);
    }

    fn link(&mut self, entry: u32, level: usize, slot: usize) {
        let wheel =
            self.wheel.get_or_insert_with(|| Box::new(Wheel { heads: [[NONE; SLOTS]; LEVELS], occupied: [0; LEVELS] }));
        wheel.occupied[level] |= 1 << slot;
        let head = std::mem::replace(&mut wheel.heads[level][slot], entry);
        // Both are small numbers: a digit, and one of seven levels.
        let place = Place::Slot { level: level as u8, slot: slot as u8 };
        if let Some(head) = self.entries.get_mut(head as usize) {
            head.before = entry;
        }
        let linked = &mut self.entries[entry as usize];
        (linked.place, linked.before, linked.after) = (place, NONE, head);
    }

    fn unlink(&mut self, entry: u32, level: usize, slot: usize) {
        let Entry { before, after, .. } = self.entries[entry as usize];
        if let Some(after) = self.entries.get_mut(after as usize) {
            after.before = before;
        }
        match (self.entries.get_mut(before as usize), &mut self.wheel) {
            (Some(before), _) => before.after = after,
            (None, Some(wheel)) => {
                wheel.heads[level][slot] = after;
                if after == NONE {
                    wheel.occupied[level] &= !(1 << slot);
                }
            }
            (None, None) => {}
        }
    }

    fn allocate(&mut self, id: u64, at: N) -> u32 {
        let entry = Entry { id, at, place: Place::Soon, before: NONE, after: NONE };
        match self.entries.get_mut(self.free as usize) {
            Some(free) => {
                let at = std::mem::replace(&mut self.free, free.after);
                *free = entry;
                at
            }
            None => {
                self.entries.push(entry);
                // A plugin has far fewer than four thousand million timers.
                (self.entries.len() - 1) as u32
            }
        }
    }

    /// Gives an entry back; the last one gives all of them back.
    fn release(&mut self, entry: u32) {
        self.entries[entry as usize].after = std::mem::replace(&mut self.free, entry);
        if self.ids.is_empty() {
            (self.entries, self.free) = (Vec::new(), NONE);
            self.ids = HashMap::new();
            self.wheel = None;
        }
    }
}

/// Whole milliseconds.
fn tick_of(since: Duration) -> u64 {
    u64::try_from(since.as_millis()).unwrap_or(LAST_TICK).min(LAST_TICK)
}

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
