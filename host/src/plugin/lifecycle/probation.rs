//! How a new revision is watched after an upgrade, and what follows when it crashes meanwhile. Pure.

use std::time::Duration;

use super::succession::Layouts;
use crate::plugin::CrashKind;

/// What a crash leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Ruling {
    /// Nothing special: the crash budget decides as always.
    Stay,
    /// The revision before comes back.
    FallBack,
    /// The revision before could not read what this one wrote: it stays where it is, quarantined.
    Quarantine,
}

/// The probation of one revision. `N` is a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Probation<N> {
    until: N,
    most: usize,
    crashes: usize,
    reversible: bool,
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> Probation<N> {
    /// Watches a revision from `now` on. It ends after `time`, or with the `most`th crash (at least one).
    pub(in crate::plugin) fn new(now: N, time: Duration, most: usize, reversible: bool) -> Self {
        Self { until: now + time, most: most.max(1), crashes: 0, reversible }
    }

    /// A crash at `now`. Any ruling but [`Ruling::Stay`] ends the probation.
    pub(in crate::plugin) fn crashed(&mut self, now: N, kind: CrashKind) -> Ruling {
        // A store that refuses writes is not the fault of a revision, and the one before would fare no better.
        if !self.lasts(now) || kind == CrashKind::Commit {
            return Ruling::Stay;
        }
        self.crashes += 1;
        if self.crashes < self.most { Ruling::Stay } else { self.exhausted(now) }
    }

    /// The crash budget is used up, which is more than a revision on probation may.
    pub(in crate::plugin) fn exhausted(&self, now: N) -> Ruling {
        match (self.lasts(now), self.reversible) {
            (false, _) => Ruling::Stay,
            (true, true) => Ruling::FallBack,
            (true, false) => Ruling::Quarantine,
        }
    }

    /// Whether it is still on probation.
    pub(in crate::plugin) fn lasts(&self, now: N) -> bool {
        now < self.until
    }

    /// Crashes so far.
    pub(in crate::plugin) fn crashes(&self) -> usize {
        self.crashes
    }
}

/// Whether the revision before can read what the new one wrote, and writes what can be read after it.
pub(in crate::plugin) fn reversible(before: Layouts, new: Layouts) -> bool {
    before.fits(new.data_version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_budget_is_a_number_of_crashes_within_a_time() {
        let mut watched = Probation::new(at(10), at(60), 3, true);
        let rulings = [10, 20, 30].map(|s| watched.crashed(at(s), CrashKind::Trap));
        assert_eq!(rulings, [Ruling::Stay, Ruling::Stay, Ruling::FallBack]);
        let mut late = Probation::new(at(10), at(60), 1, true);
        assert_eq!(late.crashed(at(70), CrashKind::Trap), Ruling::Stay);
        assert_eq!(late.exhausted(at(70)), Ruling::Stay);
    }

    #[test]
    fn a_store_that_fails_is_no_fault() {
        let mut watched = Probation::new(at(0), at(60), 1, true);
        assert_eq!(watched.crashed(at(1), CrashKind::Commit), Ruling::Stay);
        assert_eq!(watched.crashes(), 0);
    }

    #[test]
    fn what_cannot_be_read_back_is_quarantined() {
        let (one, two) = (Layouts { reads_from: 1, data_version: 1 }, Layouts { reads_from: 1, data_version: 2 });
        assert!(reversible(one, one) && reversible(two, two) && !reversible(one, two));
        let mut watched = Probation::new(at(0), at(60), 1, reversible(one, two));
        assert_eq!(watched.crashed(at(1), CrashKind::Timeout), Ruling::Quarantine);
    }

    proptest! {
        #[test]
        fn no_revision_comes_back_to_what_it_cannot_read(
            crashes in proptest::collection::vec((0_u64..100, any::<bool>()), 0..20),
            most in 0_usize..5,
            reversible: bool,
        ) {
            let mut watched = Probation::new(at(0), at(50), most, reversible);
            let mut counted = 0;
            for (second, commit) in crashes {
                let kind = if commit { CrashKind::Commit } else { CrashKind::Trap };
                let ruling = watched.crashed(at(second), kind);
                counted += usize::from(!commit && second < 50);
                prop_assert!(ruling != Ruling::FallBack || reversible);
                prop_assert!(ruling == Ruling::Stay || (counted >= most.max(1) && second < 50));
            }
        }
    }
}
