//! When a further connection to a peer is needed no more. Pure.
//!
//! Invariants, tested over random loads:
//!
//! - the connection that a peer has had longest is never given up, and of the others only one that this node dialed:
//!   whoever dialed for its own load knows when that is over;
//! - one is given up only after the others alone would have carried the load well for `spare_after`, without a break,
//!   and one at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::state::Load;
use crate::connection::ConnectionId;
use crate::peer::PeerId;

/// One of a peer's connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) load: Load,
    /// Whether this node dialed it.
    pub(super) dialed: bool,
}

/// How often it is looked whether a connection is needed no more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Since when each peer has had a connection too many.
#[derive(Debug)]
pub(super) struct Spares {
    /// How long that must have been so.
    after: Duration,
    looked: Option<Instant>,
    since: BTreeMap<PeerId, (ConnectionId, Instant)>,
}

impl Spares {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, looked: None, since: BTreeMap::new() }
    }

    /// Whether it is time to look at all peers again; then this counts as a look.
    pub(super) fn is_time(&mut self, now: Instant) -> bool {
        let is_time = self.looked.is_none_or(|looked| now >= looked + LOOK_EVERY);
        if is_time {
            self.looked = Some(now);
        }
        is_time
    }

    /// How the open connections of a peer stand now, oldest first: the one that is needed no more.
    pub(super) fn look(&mut self, peer: PeerId, standing: &[Standing], now: Instant) -> Option<ConnectionId> {
        let Some(spare) = spare(standing) else {
            self.since.remove(&peer);
            return None;
        };
        let (of, since) = *self.since.entry(peer).or_insert((spare, now));
        if of != spare {
            self.since.insert(peer, (spare, now));
        } else if now >= since + self.after {
            self.since.remove(&peer);
            return Some(spare);
        }
        None
    }

    /// Forgets peers of which nothing is to be given up.
    pub(super) fn retain(&mut self, keep: impl Fn(&PeerId) -> bool) {
        self.since.retain(|peer, _| keep(peer));
    }
}

/// The newest connection that could be given up, if the others are enough without it: less than a quarter of their
/// slots would be used, while another connection is asked for from half on.
fn spare(standing: &[Standing]) -> Option<ConnectionId> {
    let newest = standing.iter().skip(1).rfind(|one| one.dialed)?.load;
    let (used, max) = standing.iter().fold((0, 0), |(used, max), one| (used + one.load.used, max + one.load.max));
    let left = max - newest.max;
    (left > 0 && (4 * used < left || used <= 1)).then_some(newest.connection)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn peer() -> PeerId {
        PeerId::from_bytes([1; 32])
    }

    fn standing(connection: u64, used: usize, max: usize, dialed: bool) -> Standing {
        Standing { load: Load { connection: ConnectionId(connection), used, max }, dialed }
    }

    fn any_standing() -> impl Strategy<Value = Vec<Standing>> {
        let one = (0..12_usize, 0..12_usize, any::<bool>());
        proptest::collection::vec(one, 0..4)
            .prop_map(|all| (0..).zip(all).map(|(id, (used, max, dialed))| standing(id, used, max, dialed)).collect())
    }

    proptest! {
        #[test]
        fn only_what_was_not_needed_for_long_is_given_up(
            steps in proptest::collection::vec((any_standing(), 1..40_u64), 0..60),
        ) {
            let (mut spares, mut now) = (Spares::new(AFTER), Instant::now());
            let mut calm = None::<(ConnectionId, Instant)>;
            for (standing, seconds) in steps {
                now += Duration::from_secs(seconds);
                calm = spare(&standing).map(|of| match calm {
                    Some((before, since)) if before == of => (of, since),
                    _ => (of, now),
                });
                let given_up = spares.look(peer(), &standing, now);
                if let Some(given_up) = given_up {
                    prop_assert!(calm.is_some_and(|(of, since)| of == given_up && now >= since + AFTER));
                    let at = standing.iter().position(|one| one.load.connection == given_up);
                    prop_assert!(at.is_some_and(|at| at > 0 && standing[at].dialed));
                    calm = None;
                }
            }
        }
    }

    #[test]
    fn the_newest_dialed_one_goes_first_and_the_oldest_never() {
        let mut all = vec![standing(1, 0, 8, true), standing(2, 0, 8, true), standing(3, 0, 8, false)];
        let (mut spares, now) = (Spares::new(AFTER), Instant::now());
        assert_eq!(spares.look(peer(), &all, now), None);
        assert_eq!(spares.look(peer(), &all, now + AFTER / 2), None, "not long enough");
        assert_eq!(spares.look(peer(), &all, now + AFTER), Some(ConnectionId(2)), "the peer closes its own");
        all.remove(1);
        assert_eq!(spares.look(peer(), &all, now + 3 * AFTER), None);
        assert_eq!(spares.look(peer(), &all[..1], now + 9 * AFTER), None, "the last one");
    }

    #[test]
    fn load_that_comes_back_begins_the_wait_anew() {
        let calm = [standing(1, 1, 8, true), standing(2, 0, 8, true)];
        let busy = [standing(1, 3, 8, true), standing(2, 1, 8, true)];
        let (mut spares, now) = (Spares::new(AFTER), Instant::now());
        assert_eq!(spares.look(peer(), &calm, now), None);
        assert_eq!(spares.look(peer(), &busy, now + AFTER), None, "half of what would be left");
        assert_eq!(spares.look(peer(), &calm, now + AFTER), None);
        assert_eq!(spares.look(peer(), &calm, now + 2 * AFTER), Some(ConnectionId(2)));
        spares.look(peer(), &calm, now);
        spares.retain(|_| false);
        assert!(spares.since.is_empty());
    }
}
