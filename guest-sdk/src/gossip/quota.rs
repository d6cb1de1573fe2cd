//! A token bucket: so many a second, and a burst. Pure.

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: u64,
    burst: u64,
    /// In thousandths, because time comes in milliseconds.
    left: u64,
    at_ms: u64,
}

impl Bucket {
    pub(super) fn new((rate, burst): (u64, u64), now_ms: u64) -> Self {
        Self { rate, burst, left: burst.saturating_mul(1_000), at_ms: now_ms }
    }

    /// What a sender keeps to, so that the receiver's bucket never runs dry: three quarters.
    pub(super) fn of_sender((rate, burst): (u64, u64), now_ms: u64) -> Self {
        Self::new((rate - rate / 4, burst - burst / 4), now_ms)
    }

    /// Takes so many, all or none.
    pub(super) fn take(&mut self, count: u64, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(self.rate);
        self.left = self.left.saturating_add(gained).min(self.burst.saturating_mul(1_000));
        self.at_ms = self.at_ms.max(now_ms);
        let wanted = count.saturating_mul(1_000);
        let takes = wanted <= self.left;
        self.left -= if takes { wanted } else { 0 };
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new((10, 5), 0);
        assert_eq!((0..20).filter(|_| bucket.take(1, 0)).count(), 5);
        assert!(!bucket.take(1, 99) && bucket.take(1, 100));
        assert_eq!((0..1_000).filter(|at| bucket.take(1, 100 + at)).count(), 9);
        assert!(!bucket.take(6, 1_000_000));
        // A clock that goes back gives nothing.
        assert!(bucket.take(5, 1_000_000) && !bucket.take(1, 0));
    }
}
