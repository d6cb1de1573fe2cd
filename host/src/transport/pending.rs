//! How many handshakes are under way on one endpoint, in all and from each source.
//!
//! s2n-quic asks a door about each attempt and then, in the same step and on the same thread, makes what it keeps
//! of the connection; so the source that the door saw last is the source of the next handshake that begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::Source;

/// What all doors and handshakes of an endpoint share; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: u32,
    /// As many entries as handshakes at most; a source without any has none.
    sources: HashMap<Source, u32>,
    let_in: Option<Source>,
}

/// Handshakes under way: in all, and of the source that has most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingHandshakes {
    /// In all.
    pub all: u32,
    /// Of the source that has most.
    pub most_of_one_source: u32,
}

impl Pending {
    /// In all, and of one source.
    pub(super) fn count(&self, source: &Source) -> (u32, u32) {
        let table = self.table();
        (table.all, table.sources.get(source).copied().unwrap_or(0))
    }

    pub(super) fn summary(&self) -> PendingHandshakes {
        let table = self.table();
        PendingHandshakes { all: table.all, most_of_one_source: table.sources.values().copied().max().unwrap_or(0) }
    }

    /// A door lets an attempt of this source in.
    pub(super) fn let_in(&self, source: Source) {
        self.table().let_in = Some(source);
    }

    /// The handshake begins. One that this node dials has no source.
    pub(super) fn begin(&self) -> PendingGuard {
        let mut table = self.table();
        let source = table.let_in.take();
        table.all += 1;
        if let Some(source) = source {
            *table.sources.entry(source).or_default() += 1;
        }
        drop(table);
        PendingGuard { pending: self.clone(), source }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handshake under way, until it is dropped.
#[derive(Debug)]
pub(super) struct PendingGuard {
    pending: Pending,
    source: Option<Source>,
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        let mut table = self.pending.table();
        table.all -= 1;
        let Some(source) = self.source else { return };
        let left = table.sources.get(&source).map_or(0, |count| count - 1);
        if left == 0 {
            table.sources.remove(&source);
        } else {
            table.sources.insert(source, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_count_for_their_source_until_they_are_over() {
        let pending = Pending::default();
        let [one, two] = ["10.0.0.1:1", "10.0.0.2:1"].map(|text| Source::of(text.parse().expect("an address")));
        let begin = |source| {
            pending.let_in(source);
            pending.begin()
        };
        let guards = [begin(one), begin(one), begin(two), pending.begin()];
        assert_eq!((pending.count(&one), pending.count(&two)), ((4, 2), (4, 1)));
        assert_eq!(pending.summary(), PendingHandshakes { all: 4, most_of_one_source: 2 });
        drop(guards);
        assert_eq!((pending.count(&one), pending.table().sources.len()), ((0, 0), 0));
    }
}
