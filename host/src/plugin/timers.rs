//! The timers of one plugin: which ids, when due. Pure; they outlive instances and revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest a timer can be set, so that a hostile number cannot overflow a date: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Timers by id, and the order in which they fall due. `N` is a point in time.
#[derive(Debug)]
pub(super) struct Timers<N> {
    due: BTreeMap<u64, N>,
    order: BTreeSet<(N, u64)>,
}

impl<N> Default for Timers<N> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> Timers<N> {
    /// Sets or moves a timer.
    pub(super) fn set(&mut self, id: u64, after: Duration, now: N) {
        let at = now + after.min(LONGEST);
        if let Some(before) = self.due.insert(id, at) {
            self.order.remove(&(before, id));
        }
        self.order.insert((at, id));
    }

    pub(super) fn cancel(&mut self, id: u64) {
        if let Some(at) = self.due.remove(&id) {
            self.order.remove(&(at, id));
        }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.due.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// When the next one falls due.
    pub(super) fn next(&self) -> Option<N> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes those that are due, the earliest first, at most `most`.
    pub(super) fn take_due(&mut self, now: N, most: usize) -> Vec<u64> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&(at, id)) = self.order.first()
            && at <= now
        {
            self.order.pop_first();
            self.due.remove(&id);
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn timers_fall_due_in_order_and_once() {
        let mut timers = Timers::<Duration>::default();
        timers.set(1, ms(30), ms(0));
        timers.set(2, ms(10), ms(0));
        timers.set(3, ms(10), ms(0));
        timers.set(1, ms(5), ms(0));
        assert_eq!(timers.next(), Some(ms(5)));
        assert_eq!(timers.take_due(ms(4), 9), Vec::<u64>::new());
        assert_eq!(timers.take_due(ms(10), 2), [1, 2]);
        timers.cancel(3);
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

    #[test]
    fn a_hostile_delay_is_cut() {
        let mut timers = Timers::<std::time::Instant>::default();
        timers.set(1, Duration::from_millis(u64::MAX), std::time::Instant::now());
        assert!(timers.contains(1));
    }
}
