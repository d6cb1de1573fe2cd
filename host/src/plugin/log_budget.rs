//! How many lines a plugin may log in a second. Pure.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Lines that may still be logged: as many as in one second after a silence, refilled evenly. `N` is a point in time.
#[derive(Debug)]
pub(super) struct LogBudget<N> {
    /// Thousandths of a line, so that a slow plugin gets its share of every millisecond.
    left: u64,
    refilled: Option<N>,
}

impl<N> Default for LogBudget<N> {
    fn default() -> Self {
        Self { left: 0, refilled: None }
    }
}

impl<N: Copy + Sub<N, Output = Duration> + Add<Duration, Output = N>> LogBudget<N> {
    /// Takes one line; false when there is none left. `rate` is in lines a second.
    pub(super) fn take(&mut self, now: N, rate: u32) -> bool {
        self.refill(now, rate);
        let granted = self.left >= 1_000;
        if granted {
            self.left -= 1_000;
        }
        granted
    }

    /// Lines of the last second, about.
    pub(super) fn used(&mut self, now: N, rate: u32) -> u64 {
        self.refill(now, rate);
        u64::from(rate) - self.left / 1_000
    }

    fn refill(&mut self, now: N, rate: u32) {
        let full = u64::from(rate) * 1_000;
        let Some(refilled) = self.refilled else {
            (self.left, self.refilled) = (full, Some(now));
            return;
        };
        // Whole milliseconds only, and the rest of one stays for the next call.
        let passed = u64::try_from((now - refilled).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.left = passed.saturating_mul(rate.into()).saturating_add(self.left);
            self.refilled = Some(refilled + Duration::from_millis(passed));
        }
        // A smaller budget counts from the moment on at which it was set.
        self.left = self.left.min(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_second_of_lines_may_come_at_once_and_then_as_many_a_second() {
        let mut budget = LogBudget::<Duration>::default();
        let mut burst = |now, rate| (0..1_000).filter(|_| budget.take(now, rate)).count();
        assert_eq!(burst(ms(0), 10), 10);
        assert_eq!(burst(ms(99), 10), 0);
        assert_eq!(burst(ms(300), 10), 3);
        assert_eq!(burst(ms(90_000), 10), 10);
        assert_eq!(burst(ms(91_000), 0), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_of_calls_gets_more_than_the_rate(
            steps in proptest::collection::vec((0_u64..700, 0_usize..60), 1..60), rate in 0_u32..50,
        ) {
            let (mut budget, mut now, mut granted) = (LogBudget::<Duration>::default(), 0, 0_u64);
            for (pause, lines) in steps {
                now += pause;
                granted += (0..lines).filter(|_| budget.take(ms(now), rate)).count() as u64;
                proptest::prop_assert!(granted <= u64::from(rate) + now * u64::from(rate) / 1_000);
                proptest::prop_assert!(budget.used(ms(now), rate) <= rate.into());
            }
        }
    }
}
