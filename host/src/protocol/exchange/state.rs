//! What to push to one peer over one connection, and when.
//!
//! Pure. Invariants:
//! - At most one push is unacknowledged: a storm of changes becomes two pushes.
//! - An acknowledgement that comes twice, late or out of nowhere changes nothing; one of a set that is still to come is
//!   a lie, and ends the connection.
//! - A push that stays unacknowledged is sent again as the full set, [`MAX_RETRIES`] times; then the connection is
//!   given up, because its peer sends streams and sets by a picture of us that may be wrong.

use std::time::{Duration, Instant};

/// How long an acknowledgement may take.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an unacknowledged push is sent again.
pub(in crate::protocol) const MAX_RETRIES: u32 = 3;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Give {
    /// Nothing.
    Nothing,
    /// The change since this sequence.
    Since(u64),
    /// The full set.
    Full,
    /// Close the connection.
    Up(Why),
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Why {
    /// The peer never said that it has applied what was pushed.
    Silent,
    /// It says that it has applied a set that does not exist yet.
    Ahead,
}

/// The state towards one connection.
#[derive(Debug)]
pub(in crate::protocol) struct Exchanger {
    acknowledged: u64,
    unacknowledged: Option<Push>,
}

#[derive(Debug)]
struct Push {
    sequence: u64,
    full: bool,
    retries: u32,
    deadline: Instant,
}

impl Exchanger {
    /// For a connection whose hello carried the set with this sequence.
    pub(in crate::protocol) fn new(sequence: u64) -> Self {
        Self { acknowledged: sequence, unacknowledged: None }
    }

    /// The sequence that was pushed and is not acknowledged.
    pub(in crate::protocol) fn unacknowledged(&self) -> Option<u64> {
        self.unacknowledged.as_ref().map(|push| push.sequence)
    }

    /// The local set has this sequence now.
    pub(in crate::protocol) fn changed(&mut self, sequence: u64, now: Instant) -> Give {
        if self.unacknowledged.is_some() || sequence <= self.acknowledged {
            return Give::Nothing;
        }
        self.push(sequence, false, 0, now)
    }

    /// The peer says that it has applied `applied`; `sequence` is the local set's now.
    pub(in crate::protocol) fn applied(&mut self, applied: u64, sequence: u64, now: Instant) -> Give {
        if applied > sequence {
            return Give::Up(Why::Ahead);
        }
        let Some(push) = &self.unacknowledged else { return Give::Nothing };
        if applied >= push.sequence {
            self.acknowledged = applied;
            self.unacknowledged = None;
            return self.changed(sequence, now);
        }
        if push.full || applied < self.acknowledged {
            return Give::Nothing;
        }
        let retries = push.retries;
        self.push(sequence, true, retries, now)
    }

    /// Time has passed.
    pub(in crate::protocol) fn tick(&mut self, sequence: u64, now: Instant) -> Give {
        match &self.unacknowledged {
            Some(push) if push.deadline <= now && push.retries >= MAX_RETRIES => Give::Up(Why::Silent),
            Some(push) if push.deadline <= now => {
                let retries = push.retries + 1;
                self.push(sequence, true, retries, now)
            }
            _ => Give::Nothing,
        }
    }

    fn push(&mut self, sequence: u64, full: bool, retries: u32, now: Instant) -> Give {
        self.unacknowledged = Some(Push { sequence, full, retries, deadline: now + PUSH_TIMEOUT });
        if full { Give::Full } else { Give::Since(self.acknowledged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_changes_becomes_two_pushes() {
        let now = Instant::now();
        let mut exchanger = Exchanger::new(3);
        assert_eq!(exchanger.changed(3, now), Give::Nothing);
        assert_eq!(exchanger.changed(4, now), Give::Since(3));
        for sequence in 5..100 {
            assert_eq!(exchanger.changed(sequence, now), Give::Nothing);
        }
        assert_eq!(exchanger.applied(4, 99, now), Give::Since(4));
        assert_eq!(exchanger.applied(99, 99, now), Give::Nothing);
        assert_eq!(exchanger.changed(100, now), Give::Since(99));
    }

    #[test]
    fn a_base_that_does_not_fit_brings_the_full_set_once() {
        let now = Instant::now();
        let mut exchanger = Exchanger::new(3);
        assert_eq!(exchanger.changed(5, now), Give::Since(3));
        assert_eq!(exchanger.applied(3, 5, now), Give::Full);
        assert_eq!(exchanger.applied(3, 5, now), Give::Nothing, "the same answer twice");
        assert_eq!(exchanger.applied(5, 5, now), Give::Nothing);
        assert_eq!(exchanger.applied(5, 5, now), Give::Nothing, "twice");
        assert_eq!(exchanger.changed(6, now), Give::Since(5));
        assert_eq!(exchanger.applied(2, 6, now), Give::Nothing, "late");
        assert_eq!(exchanger.unacknowledged(), Some(6));
        assert_eq!(exchanger.applied(9, 6, now), Give::Up(Why::Ahead), "from the future");
    }

    #[test]
    fn an_acknowledgement_of_a_set_that_is_still_to_come_is_a_lie_at_any_time() {
        let now = Instant::now();
        let mut exchanger = Exchanger::new(3);
        assert_eq!(exchanger.applied(4, 3, now), Give::Up(Why::Ahead), "nothing was pushed at all");
        assert_eq!(exchanger.applied(3, 3, now), Give::Nothing);
        assert_eq!(exchanger.applied(0, 3, now), Give::Nothing);
    }

    #[test]
    fn silence_is_answered_with_full_sets_and_then_an_end() {
        let mut now = Instant::now();
        let mut exchanger = Exchanger::new(0);
        assert_eq!(exchanger.changed(1, now), Give::Since(0));
        assert_eq!(exchanger.tick(1, now), Give::Nothing);
        for _ in 0..MAX_RETRIES {
            now += PUSH_TIMEOUT;
            assert_eq!(exchanger.tick(2, now), Give::Full);
        }
        now += PUSH_TIMEOUT;
        assert_eq!(exchanger.tick(2, now), Give::Up(Why::Silent));
    }
}
