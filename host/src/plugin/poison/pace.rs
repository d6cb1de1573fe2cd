//! How many events a turn takes: all that wait, until a batch fails that goes well in parts. Pure.

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::plugin) struct Pace {
    most: usize,
    now: usize,
}

impl Pace {
    /// `most` events a turn when nothing is wrong.
    pub(in crate::plugin) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, now: most }
    }

    /// Most events of the next turn. As many as wait when nothing is wrong: that is bounded where they wait.
    pub(in crate::plugin) fn events(&self) -> usize {
        if self.now < self.most { self.now } else { usize::MAX }
    }

    /// A batch of so many failed, and each of its events went well in smaller company: the next ones are half as large.
    pub(in crate::plugin) fn failed_together(&mut self, events: usize) {
        self.now = (events.min(self.now) / 2).max(1);
    }

    /// A turn of so many went well: when it was as large as it may be, the next one may be twice as large.
    pub(in crate::plugin) fn went(&mut self, events: usize) {
        if events >= self.now {
            self.now = self.now.saturating_mul(2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_batches_halve_the_next_until_it_goes_well() {
        let mut pace = Pace::new(256);
        pace.failed_together(256);
        pace.failed_together(128);
        assert_eq!(pace.events(), 64);
        pace.went(3);
        assert_eq!(pace.events(), 64, "a small batch says nothing");
        for _ in 0..9 {
            pace.went(pace.events());
        }
        assert_eq!(pace.events(), usize::MAX);
        for _ in 0..20 {
            pace.failed_together(pace.events());
        }
        assert_eq!(pace.events(), 1);
    }
}
