//! What is said gets lost, comes again, or is not true.

use super::*;

impl World {
    /// A message is never looked at.
    pub(super) fn lose(&mut self, at: usize, link: usize) {
        self.links.get_mut(&link).and_then(|link| link.queues[at].pop_front());
    }

    /// An acknowledgement comes again.
    pub(super) fn repeat(&mut self, at: usize, link: usize) {
        let past = &self.links[&link].past[at];
        if let Some(sequence) = past.get(self.below(past.len().max(1) as u64) as usize).copied() {
            self.applied(at, link, sequence);
        }
    }

    /// An acknowledgement of what was never applied comes, below or above what there is.
    pub(super) fn lie(&mut self, at: usize, link: usize) {
        let ahead = u64::from(self.below(20) == 0);
        let sequence = self.below(self.nodes[at].state.sequence() + 1) + ahead;
        // A peer that says it has what it has not is on its own: only lies that a walk can recover from are told.
        let believed = self.nodes[1 - at].state.applied(&id(at)).unwrap_or(0);
        if sequence <= believed || sequence > self.nodes[at].state.sequence() {
            self.applied(at, link, sequence);
        }
    }
}
