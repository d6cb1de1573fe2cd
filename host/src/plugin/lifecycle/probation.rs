//! How a new revision is watched after an upgrade, and what follows when it crashes meanwhile. Pure.
//!
//! A crash counts, except that those in events of one peer count as one together while it is **alone with them**: events
//! of other peers go well, and no other peer's event failed at one of the same places. Otherwise one hostile peer could
//! take every upgrade back, with poison so seldom that it is never muted. A fault of the revision is one that several
//! peers run into, or that needs no peer, or with which nothing goes well; all of these are counted one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::succession::Layouts;
use crate::peer::PeerId;
use crate::plugin::crash::{CallFailure, CrashKind};

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
    crashes: Vec<Crash>,
    reversible: bool,
}

/// Whose event it was, and where it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Crash {
    by: Option<PeerId>,
    place: String,
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> Probation<N> {
    /// Watches a revision from `now` on. It ends after `time`, or with the `most`th crash (at least one).
    pub(in crate::plugin) fn new(now: N, time: Duration, most: usize, reversible: bool) -> Self {
        Self { until: now + time, most: most.max(1), crashes: Vec::new(), reversible }
    }

    /// A crash at `now`, in an event of `by` if a peer sent it. `others_succeed`: whether events of others than this peer
    /// go well. Any ruling but [`Ruling::Stay`] ends the probation.
    pub(in crate::plugin) fn crashed(
        &mut self,
        now: N,
        failure: &CallFailure,
        by: Option<PeerId>,
        others_succeed: impl Fn(&PeerId) -> bool,
    ) -> Ruling {
        // A store that refuses writes is not the fault of a revision, and the one before would fare no better.
        if !self.lasts(now) || failure.kind == CrashKind::Commit {
            return Ruling::Stay;
        }
        self.note(Crash { by, place: failure.place() });
        if self.crashes(others_succeed) < self.most { Ruling::Stay } else { self.exhausted(now) }
    }

    /// Remembers a crash. Of one sender never more than decide: a hostile one has no end of them.
    fn note(&mut self, crash: Crash) {
        let mut of_sender = self.crashes.iter().enumerate().filter(|(_, known)| known.by == crash.by);
        let oldest = of_sender.next().map(|(at, _)| at);
        let others = of_sender.count();
        if let Some(oldest) = oldest.filter(|_| others + 1 >= self.most) {
            self.crashes.remove(oldest);
        }
        self.crashes.push(crash);
    }

    /// What this peer's events cost is not the revision's doing.
    pub(in crate::plugin) fn blamed(&mut self, peer: &PeerId) {
        self.crashes.retain(|crash| crash.by.as_ref() != Some(peer));
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

    /// Crashes so far, as they count.
    pub(in crate::plugin) fn crashes(&self, others_succeed: impl Fn(&PeerId) -> bool) -> usize {
        let mut alone = BTreeSet::new();
        let counts = |crash: &&Crash| match crash.by {
            Some(peer) if others_succeed(&peer) && !self.shares_a_place(&peer) => alone.insert(peer),
            _ => true,
        };
        self.crashes.iter().filter(counts).count()
    }

    /// Whether an event of another peer failed where one of this peer's did.
    fn shares_a_place(&self, peer: &PeerId) -> bool {
        let (own, rest): (Vec<_>, Vec<_>) =
            self.crashes.iter().filter(|crash| crash.by.is_some()).partition(|crash| crash.by.as_ref() == Some(peer));
        own.iter().any(|crash| rest.iter().any(|other| other.place == crash.place))
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

    const ATTACKER: u8 = 1;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn failure(place: &str) -> CallFailure {
        CallFailure::new(CrashKind::Error, place)
    }

    /// A crash that no peer's event is behind.
    fn own(watched: &mut Probation<Duration>, second: u64, kind: CrashKind) -> Ruling {
        watched.crashed(at(second), &CallFailure::new(kind, "here"), None, |_| true)
    }

    /// A crash in a peer's event while those of others go well.
    fn of(watched: &mut Probation<Duration>, second: u64, number: u8, place: &str) -> Ruling {
        watched.crashed(at(second), &failure(place), Some(peer(number)), |_| true)
    }

    #[test]
    fn the_budget_is_a_number_of_crashes_within_a_time() {
        let mut watched = Probation::new(at(10), at(60), 3, true);
        let rulings = [10, 20, 30].map(|s| own(&mut watched, s, CrashKind::Trap));
        assert_eq!(rulings, [Ruling::Stay, Ruling::Stay, Ruling::FallBack]);
        let mut late = Probation::new(at(10), at(60), 1, true);
        assert_eq!(own(&mut late, 70, CrashKind::Trap), Ruling::Stay);
        assert_eq!(late.exhausted(at(70)), Ruling::Stay);
    }

    #[test]
    fn a_store_that_fails_is_no_fault() {
        let mut watched = Probation::new(at(0), at(60), 1, true);
        assert_eq!(own(&mut watched, 1, CrashKind::Commit), Ruling::Stay);
        assert_eq!(watched.crashes(|_| true), 0);
    }

    #[test]
    fn what_cannot_be_read_back_is_quarantined() {
        let (one, two) = (Layouts { reads_from: 1, data_version: 1 }, Layouts { reads_from: 1, data_version: 2 });
        assert!(reversible(one, one) && reversible(two, two) && !reversible(one, two));
        let mut watched = Probation::new(at(0), at(60), 1, reversible(one, two));
        assert_eq!(own(&mut watched, 1, CrashKind::Timeout), Ruling::Quarantine);
    }

    #[test]
    fn one_peer_takes_nothing_back() {
        let mut watched = Probation::new(at(0), at(300), 3, true);
        // Poison every 61 s is never muted; so is poison whose place is another each time.
        for second in [0, 61, 122, 183, 244] {
            assert_eq!(of(&mut watched, second, ATTACKER, &format!("lib.rs:{second}")), Ruling::Stay);
        }
        assert_eq!(watched.crashes(|_| true), 1);
        assert!(watched.crashes.len() <= 3, "what is remembered of one peer is bounded");
        assert_eq!(own(&mut watched, 250, CrashKind::Trap), Ruling::Stay);
        assert_eq!(own(&mut watched, 251, CrashKind::Trap), Ruling::FallBack, "with two that need no peer");
    }

    #[test]
    fn what_a_peer_is_blamed_for_does_not_count() {
        let mut watched = Probation::new(at(0), at(300), 3, true);
        own(&mut watched, 1, CrashKind::Trap);
        of(&mut watched, 2, ATTACKER, "lib.rs:1");
        watched.blamed(&peer(ATTACKER));
        assert_eq!(watched.crashes(|_| true), 1);
        assert_eq!(own(&mut watched, 3, CrashKind::Trap), Ruling::Stay);
    }

    #[test]
    fn a_fault_that_several_peers_run_into_is_the_revisions() {
        let mut watched = Probation::new(at(0), at(300), 3, true);
        let rulings = [2, 3, 4].map(|number| of(&mut watched, 1, number, &format!("lib.rs:{number}")));
        assert_eq!(rulings, [Ruling::Stay, Ruling::Stay, Ruling::FallBack], "each at a place of its own");
        let mut watched = Probation::new(at(0), at(300), 3, true);
        let rulings = [2, 2, 3].map(|number| of(&mut watched, 1, number, "lib.rs:1"));
        assert_eq!(rulings, [Ruling::Stay, Ruling::Stay, Ruling::FallBack], "two at one place");
    }

    #[test]
    fn a_peer_that_nobody_can_be_compared_with_counts_each_time() {
        let mut watched = Probation::new(at(0), at(300), 3, true);
        let mut crash = |others| watched.crashed(at(1), &failure("lib.rs:1"), Some(peer(2)), |_| others);
        assert_eq!([false, false, true].map(&mut crash), [Ruling::Stay; 3], "others came, and they go well");
        assert_eq!(crash(false), Ruling::FallBack);
    }

    proptest! {
        #[test]
        fn no_revision_comes_back_to_what_it_cannot_read(
            crashes in proptest::collection::vec((0_u64..100, any::<bool>(), 0_u8..4, any::<bool>()), 0..20),
            most in 0_usize..5,
            reversible: bool,
        ) {
            let mut watched = Probation::new(at(0), at(50), most, reversible);
            let mut counted = 0;
            for (second, commit, number, others) in crashes {
                let kind = if commit { CrashKind::Commit } else { CrashKind::Trap };
                let by = (number > 0).then(|| peer(number));
                let ruling = watched.crashed(at(second), &CallFailure::new(kind, "here"), by, |_| others);
                counted += usize::from(!commit && second < 50);
                prop_assert!(ruling != Ruling::FallBack || reversible);
                prop_assert!(ruling == Ruling::Stay || (counted >= most.max(1) && second < 50));
            }
        }

        /// Whatever one peer sends and when: as long as others' events go well, it counts once.
        #[test]
        fn a_peer_alone_counts_once(crashes in proptest::collection::vec((0_u64..50, 0_u8..4), 1..40), most in 2_usize..5) {
            let mut watched = Probation::new(at(0), at(50), most, true);
            for (second, place) in crashes {
                prop_assert_eq!(of(&mut watched, second, ATTACKER, &place.to_string()), Ruling::Stay);
                prop_assert_eq!(watched.crashes(|_| true), 1);
            }
        }
    }
}
