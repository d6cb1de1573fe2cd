//! What was received from one peer: totals, and the sequence of each flood.

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;

/// Floods remembered per peer; the one that was silent for longest makes room. Each is stored with every batch.
const MAX_FLOWS: usize = 16;
/// Gaps remembered per flood: enough to tell a late message from a repeated one on any lane that is not
/// hopeless. A late message whose gap is forgotten counts as duplicated.
const MAX_GAPS: usize = 32;

/// Everything received from one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// One-way messages.
    pub messages: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Messages of floods that did not come, although later ones did.
    pub lost: u64,
    /// Messages of floods that came after later ones.
    pub reordered: u64,
    /// Messages of floods that came twice.
    pub duplicated: u64,
    /// Messages of ours to this peer that did not arrive.
    pub undelivered: u64,
    /// Messages of this peer that the host lost before this plugin saw them.
    pub missed: u64,
    /// The latest floods, the one heard last at the end.
    pub flows: Vec<Flow>,
}

/// One flood of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Drawn by the sender.
    pub flood: u64,
    /// The index expected next.
    pub next: u64,
    /// Messages of this flood, those that came twice included.
    pub messages: u64,
    /// Over the payloads in the order in which they came.
    pub checksum: Checksum,
    gaps: Vec<(u64, u64)>,
}

/// What a message's index says.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Next,
    After(u64),
    Late,
    Again,
}

impl Counts {
    /// Counts a message of `bytes` that belongs to no flood.
    pub(crate) fn plain(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    /// Counts a flood's message.
    pub(crate) fn flood(&mut self, flood: u64, index: u64, header: usize, payload: &[u8]) {
        self.plain(header + payload.len());
        let flow = self.flow(flood);
        flow.messages += 1;
        flow.checksum.update(payload);
        match flow.arrive(index) {
            Arrival::Next => {}
            Arrival::After(gap) => self.lost = self.lost.saturating_add(gap),
            Arrival::Late => {
                self.lost = self.lost.saturating_sub(1);
                self.reordered += 1;
            }
            Arrival::Again => self.duplicated += 1,
        }
    }

    fn flow(&mut self, flood: u64) -> &mut Flow {
        match self.flows.iter().position(|flow| flow.flood == flood) {
            Some(place) if place + 1 == self.flows.len() => {}
            Some(place) => self.flows[place..].rotate_left(1),
            None => {
                if self.flows.len() >= MAX_FLOWS {
                    self.flows.remove(0);
                }
                let checksum = Checksum::default();
                self.flows.push(Flow { flood, next: 0, messages: 0, checksum, gaps: Vec::new() });
            }
        }
        let last = self.flows.len() - 1;
        &mut self.flows[last]
    }
}

impl Flow {
    fn arrive(&mut self, index: u64) -> Arrival {
        if index < self.next {
            return if self.fill(index) { Arrival::Late } else { Arrival::Again };
        }
        let (first, gap) = (self.next, index - self.next);
        self.next = index.saturating_add(1);
        if gap == 0 {
            return Arrival::Next;
        }
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gaps.push((first, index));
        Arrival::After(gap)
    }

    /// Takes an index out of its gap; false when it was in none.
    fn fill(&mut self, index: u64) -> bool {
        let Some(place) = self.gaps.iter().position(|(first, end)| (*first..*end).contains(&index)) else {
            return false;
        };
        let (first, end) = self.gaps.remove(place);
        if index + 1 < end {
            self.gaps.insert(place, (index + 1, end));
        }
        if first < index {
            self.gaps.insert(place, (first, index));
        }
        self.gaps.truncate(MAX_GAPS);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(indices: &[u64]) -> Counts {
        let mut counts = Counts::default();
        indices.iter().for_each(|index| counts.flood(7, *index, 16, b"payload"));
        counts
    }

    #[test]
    fn a_whole_flood_has_no_faults() {
        let counts = after(&[0, 1, 2, 3]);
        assert_eq!((counts.messages, counts.lost, counts.reordered, counts.duplicated), (4, 0, 0, 0));
    }

    #[test]
    fn lost_late_and_repeated_are_told_apart() {
        let counts = after(&[0, 4, 2, 2, 4]);
        // 1 and 3 are lost, 2 came late, then 2 and 4 came again.
        assert_eq!((counts.lost, counts.reordered, counts.duplicated), (2, 1, 2));
    }

    #[test]
    fn hostile_indices_and_many_floods_are_bounded() {
        let mut counts = after(&[u64::MAX, 0, u64::MAX]);
        (0..1_000).for_each(|flood| counts.flood(flood, flood * 2, 16, b""));
        (0..1_000).for_each(|index| counts.flood(1, index * 2, 16, b""));
        assert_eq!(counts.flows.len(), MAX_FLOWS);
        assert!(counts.flows.iter().all(|flow| flow.gaps.len() <= MAX_GAPS));
    }
}
