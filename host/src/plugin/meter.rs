//! How long a call into a plugin may run, measured in CPU time from its first tick.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::cpu;

/// The call used up its time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it ran for more than {} ms of CPU time without an end", .0.as_millis())]
pub(super) struct TimedOut(pub(super) Duration);

/// Shared by the call, which is measured, and the store, whose ticks look at it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    used: AtomicU64,
    budget: AtomicU64,
}

impl Meter {
    /// A new call begins.
    pub(super) fn begin(&self, budget: Duration) {
        self.used.store(0, Ordering::Relaxed);
        self.budget.store(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the last call was moved to threads of its own: only there is its time taken.
    pub(super) fn was_slow(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Looked at every tick.
    pub(super) fn check(&self) -> Result<(), TimedOut> {
        let budget = self.budget.load(Ordering::Relaxed);
        let over = self.used.load(Ordering::Relaxed) > budget;
        if over { Err(TimedOut(Duration::from_nanos(budget))) } else { Ok(()) }
    }
}

/// Adds the CPU time of every poll to the meter.
pub(super) struct Metered<F: ?Sized> {
    meter: Arc<Meter>,
    call: Pin<Box<F>>,
}

impl<F: Future + ?Sized> Metered<F> {
    pub(super) fn new(call: Pin<Box<F>>, meter: Arc<Meter>) -> Self {
        Self { call, meter }
    }
}

impl<F: Future + ?Sized> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let start = cpu::thread_time();
        let poll = self.call.as_mut().poll(cx);
        let spent = cpu::thread_time().saturating_sub(start);
        self.meter.used.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::poll_once;

    #[test]
    fn a_call_is_over_when_its_cpu_time_is() {
        let meter = Arc::new(Meter::default());
        meter.begin(Duration::from_millis(1));
        let busy = async {
            let start = cpu::thread_time();
            while cpu::thread_time() < start + Duration::from_millis(2) {}
        };
        let mut metered = Metered::new(Box::pin(busy), meter.clone());
        assert!(meter.check().is_ok());
        assert!(poll_once(&mut metered).is_some() && meter.check().is_err());
    }
}
