//! Whether the peer still answers. Pure: the conversation asks what is due and tells when an answer came.
//!
//! QUIC's own idle timeout notices a path that is dead in both directions. One that is dead in one direction it may take
//! for alive several times as long: packets of the peer still arrive, and with each one of ours that is lost the
//! timeout grows (RFC 9000, 10.1). Here only an answer counts, which needs both directions and a peer that works.

use std::time::Duration;

/// How a silent peer is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlivePolicy {
    /// How long after an answer the peer is asked again. Default 10 s.
    pub every: Duration,
    /// How long an answer may take. Default 30 s. A dead path is so noticed after the sum of both.
    pub within: Duration,
}

impl Default for AlivePolicy {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), within: Duration::from_secs(30) }
    }
}

/// Set in the number of every ping from here, so that none is taken for one by which the state decides between two
/// connections.
const MARK: u64 = 1 << 63;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Wait.
    Nothing,
    /// Ask with this number.
    Ask(u64),
    /// The peer has not answered in time.
    Dead,
}

/// One connection's watch over its peer.
#[derive(Debug)]
pub(super) struct Alive {
    policy: AlivePolicy,
    last: u64,
    /// The question is not answered.
    asked: bool,
    next: Duration,
}

impl Alive {
    /// The connection is up as of now.
    pub(super) fn new(policy: AlivePolicy, now: Duration) -> Self {
        Self { policy, last: 0, asked: false, next: now + policy.every }
    }

    /// When to look with [`Alive::due`].
    pub(super) fn deadline(&self) -> Duration {
        self.next
    }

    /// What to do. `now` never goes back.
    pub(super) fn due(&mut self, now: Duration) -> Due {
        if now < self.next {
            return Due::Nothing;
        }
        if self.asked {
            return Due::Dead;
        }
        self.last += 1;
        (self.asked, self.next) = (true, now + self.policy.within);
        Due::Ask(MARK | self.last)
    }

    /// The peer answered; what else it says proves nothing about the way to it.
    pub(super) fn pong(&mut self, number: u64, now: Duration) {
        if self.asked && number == MARK | self.last {
            (self.asked, self.next) = (false, now + self.policy.every);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_peer_that_answers_lives_and_one_that_does_not_is_dead_after_both_times() {
        let policy = AlivePolicy { every: second(1), within: second(2) };
        let mut alive = Alive::new(policy, second(0));
        let mut now = second(0);
        for round in 1..100 {
            assert_eq!(alive.due(now), Due::Nothing);
            now = alive.deadline();
            assert_eq!(alive.due(now), Due::Ask(MARK | round));
            now += second(1);
            assert_eq!(alive.due(now), Due::Nothing);
            alive.pong(round, now);
            alive.pong(MARK | (round - 1), now);
            assert_eq!(alive.deadline(), now + second(1), "neither is the answer");
            alive.pong(MARK | round, now);
        }
        let answered = now;
        assert!(matches!(alive.due(alive.deadline()), Due::Ask(_)));
        assert_eq!(alive.due(alive.deadline()), Due::Dead);
        assert_eq!(alive.deadline(), answered + policy.every + policy.within);
    }
}
