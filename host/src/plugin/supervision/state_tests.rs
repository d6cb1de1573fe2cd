//! What follows which crash, and that no sequence of crashes is a hot loop.

use proptest::prelude::*;

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn supervision() -> Supervision<Duration> {
    Supervision::new(SupervisionPolicy::default())
}

/// Crashes of one cause, one after the other without a pause: the quarantine they end in.
fn exhaust(supervision: &mut Supervision<Duration>, cause: CrashCause, now: Duration) -> (Duration, u32) {
    for _ in 0..5 {
        if let Decision::Quarantine { until } = supervision.crashed(cause, None, now, 0) {
            return (until - now, supervision.times());
        }
        supervision.starting();
        supervision.started(now);
    }
    panic!("five crashes are enough");
}

#[test]
fn crashes_wait_longer_each_time_and_end_in_quarantine() {
    let mut supervision = supervision();
    let crash = |supervision: &mut Supervision<_>, ms| {
        supervision.crashed(CrashCause::Trap, None, Duration::from_millis(ms), 0)
    };
    let backoff = |ms| Decision::BackOff { until: Duration::from_millis(ms) };
    assert_eq!(crash(&mut supervision, 0), Decision::Restart);
    assert_eq!(crash(&mut supervision, 0), Decision::Restart);
    assert_eq!(crash(&mut supervision, 0), backoff(100));
    assert_eq!(supervision.wake(), Some(Duration::from_millis(100)));
    supervision.starting();
    assert_eq!((supervision.started(secs(1)), supervision.wake()), (false, None));
    assert_eq!(crash(&mut supervision, 1_000), backoff(1_200));
    assert_eq!(crash(&mut supervision, 2_000), Decision::Quarantine { until: secs(62) });
    assert!(supervision.is_quarantined());
}

#[test]
fn causes_are_counted_apart_and_old_crashes_not_at_all() {
    let mut supervision = supervision();
    let causes = [CrashCause::Trap, CrashCause::Timeout, CrashCause::Error, CrashCause::BadResult, CrashCause::Commit];
    for cause in causes.into_iter().cycle().take(20) {
        let decision = supervision.crashed(cause, None, secs(0), 0);
        assert!(!matches!(decision, Decision::Quarantine { .. }), "{cause:?}");
    }
    for minute in 1..50 {
        assert_eq!(supervision.crashed(CrashCause::Trap, None, secs(60 * minute), 0), Decision::Restart);
    }
}

#[test]
fn pauses_grow_up_to_a_bound_and_a_calm_time_forgives() {
    let (mut supervision, mut now) = (supervision(), secs(0));
    for (minutes, times) in [(1, 1), (2, 2), (4, 3), (8, 4), (16, 5), (32, 6), (60, 7), (60, 8)] {
        assert_eq!(exhaust(&mut supervision, CrashCause::Error, now), (secs(60 * minutes), times));
        now += secs(60 * minutes);
        supervision.starting();
        assert!(supervision.started(now), "it is back from a quarantine");
    }
    assert_eq!(exhaust(&mut supervision, CrashCause::Error, now + secs(600)), (secs(60), 1));
}

#[test]
fn a_start_that_fails_after_a_quarantine_is_enough() {
    let mut supervision = supervision();
    exhaust(&mut supervision, CrashCause::Trap, secs(0));
    supervision.starting();
    let decision = supervision.crashed(CrashCause::Start, None, secs(60), 0);
    assert_eq!((decision, supervision.times()), (Decision::Quarantine { until: secs(180) }, 2));
}

#[test]
fn what_a_peer_is_blamed_for_does_not_count() {
    let (mut supervision, peer) = (supervision(), PeerId::from_bytes([1; 32]));
    for _ in 0..30 {
        for _ in 0..3 {
            let decision = supervision.crashed(CrashCause::Trap, Some(peer), secs(0), 0);
            assert!(!matches!(decision, Decision::Quarantine { .. }));
        }
        supervision.blamed(&peer);
    }
}

#[test]
fn a_quarantine_survives_the_node_and_is_lifted() {
    let mut supervision = supervision();
    assert!(!supervision.lift());
    supervision.restore(3, Some(secs(100)), secs(0));
    assert_eq!((supervision.is_quarantined(), supervision.wake()), (true, Some(secs(100))));
    assert!(supervision.lift());
    assert_eq!(supervision.wake(), None);
    supervision.starting();
    assert!(supervision.started(secs(1)));
    assert_eq!(exhaust(&mut supervision, CrashCause::Trap, secs(1)), (secs(480), 4), "the fourth in a row");
}

proptest! {
    /// Whatever fails, and however fast: within any hour there are few starts.
    #[test]
    fn there_is_no_hot_loop(causes in prop::collection::vec(0..6_usize, 1..200), jitter in any::<u64>()) {
        use CrashCause::*;
        let all = [Trap, Timeout, Error, BadResult, Commit, Start];
        let (mut supervision, mut now, mut starts) = (supervision(), secs(0), 0_u64);
        for cause in causes.into_iter().cycle() {
            if let Some(until) = supervision.wake() {
                prop_assert!(until >= now);
                now = until;
            }
            if now > secs(3_600) {
                break;
            }
            supervision.starting();
            starts += 1;
            if all[cause] != Start {
                supervision.started(now);
            }
            let decision = supervision.crashed(all[cause], None, now, jitter);
            if let Decision::Quarantine { until } = decision {
                prop_assert!(until - now >= secs(60) && until - now <= secs(72 * 60));
            }
        }
        prop_assert!(starts <= 6 * 30, "{starts} starts in an hour");
    }
}
