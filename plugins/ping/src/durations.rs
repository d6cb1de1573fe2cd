//! How long many things took, in a memory that does not grow with their number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Leading binary digits that are kept, so that a value is exact to one part in 32.
const DIGITS: u32 = 6;

/// Microseconds, counted by their leading digits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Durations {
    counts: BTreeMap<u64, u64>,
    number: u64,
    sum: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, us: u64) {
        *self.counts.entry(rounded(us)).or_default() += 1;
        self.number += 1;
        self.sum = self.sum.saturating_add(us);
    }

    /// 0 when there are none.
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.number.max(1) as f64
    }

    /// The value that `percent` of 100 do not exceed; 0 when there are none.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.number * percent).div_ceil(100);
        let mut seen = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        reached.map_or(0, |(us, _)| *us)
    }
}

fn rounded(us: u64) -> u64 {
    let dropped = (u64::BITS - us.leading_zeros()).saturating_sub(DIGITS);
    us >> dropped << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_one_part_in_32() {
        let mut all = Durations::default();
        assert_eq!((all.percentile(50), all.mean()), (0, 0.0));
        (1..=10_000).for_each(|us| all.add(us));
        for (percent, exact) in [(1, 100.0), (50, 5_000.0), (99, 9_900.0), (100, 10_000.0)] {
            let share = all.percentile(percent) as f64 / exact;
            assert!((1.0 - 1.0 / 32.0..=1.0).contains(&share), "{percent}: {share}");
        }
        assert_eq!(all.mean(), 5_000.5);
        assert!(all.counts.len() < 400, "{} counters", all.counts.len());
    }
}
