//! The numbers a plugin shows: bounded in count and length.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Longest name of a metric, in bytes.
const MAX_NAME: usize = 128;

/// A number a plugin shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Only grows.
    Count(u64),
    /// Goes up and down.
    Gauge(f64),
}

/// The metrics of one plugin.
#[derive(Debug)]
pub(super) struct MetricBoard {
    most: AtomicUsize,
    all: Mutex<BTreeMap<String, Metric>>,
}

impl MetricBoard {
    pub(super) fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), all: Mutex::default() }
    }

    fn update(&self, name: &str, change: impl FnOnce(Option<Metric>) -> Metric) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = all.get_mut(name) {
            *metric = change(Some(*metric));
        } else if all.len() < self.most.load(Ordering::Relaxed) && !name.is_empty() && name.len() <= MAX_NAME {
            all.insert(name.to_owned(), change(None));
        }
    }

    pub(super) fn count(&self, name: &str, by: u64) {
        self.update(name, |old| match old {
            Some(Metric::Count(sum)) => Metric::Count(sum.saturating_add(by)),
            _ => Metric::Count(by),
        });
    }

    pub(super) fn gauge(&self, name: &str, value: f64) {
        self.update(name, |_| Metric::Gauge(value));
    }

    /// Names beyond a smaller number stay as they are.
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub(super) fn len(&self) -> usize {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Metric> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let board = MetricBoard::new(2);
        board.count("a", 2);
        board.count("a", 3);
        board.count(&"x".repeat(129), 1);
        board.gauge("b", 0.5);
        board.gauge("c", 0.5);
        let all = board.all();
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [("a".into(), Metric::Count(5)), ("b".into(), Metric::Gauge(0.5))]
        );
    }
}
