//! What was written on one stream of a lane, and how much of it the peer has reported as handed over. Pure.

use std::collections::VecDeque;

use super::queue::Count;
use crate::connection::ConnectionId;

/// Most runs that are told apart; beyond that neighbours are joined, and the bound of what is lost gets looser.
const MAX_RUNS: usize = 64;

/// Names a stream of the node.
pub(super) type StreamName = (ConnectionId, u64);

/// One stream of a lane until the peer has reported its end.
#[derive(Debug)]
pub(super) struct Generation {
    /// Counts the streams of the lane, from 1.
    pub(super) number: u64,
    pub(super) name: StreamName,
    /// Whether it was finished between two frames.
    pub(super) finished: bool,
    /// Whether the peer reported its end, or its connection is gone, while a write was under way.
    pub(super) over: bool,
    /// Frames reported; may run ahead of what is noted as written, because a write is noted after it.
    confirmed: u64,
    /// Frames written that left `runs`.
    passed: u64,
    /// Frames written and not confirmed, oldest first, in runs of one kind where they can be told apart.
    runs: VecDeque<Count>,
}

impl Generation {
    pub(super) fn new(number: u64, name: StreamName) -> Self {
        let (confirmed, passed, runs) = (0, 0, VecDeque::new());
        Self { number, name, finished: false, over: false, confirmed, passed, runs }
    }

    /// Notes that frames were written.
    pub(super) fn wrote(&mut self, count: Count) {
        let pure = |count: &Count| count.messages == 0 || count.messages == count.frames;
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.back_mut() {
            Some(last) if full || (pure(last) && pure(&count) && (last.messages == 0) == (count.messages == 0)) => {
                last.frames += count.frames;
                last.messages += count.messages;
            }
            _ => self.runs.push_back(count),
        }
        self.trim();
    }

    /// Notes that the peer has handed over `frames` from the start of the stream. True when that is news.
    pub(super) fn confirm(&mut self, frames: u64) -> bool {
        let news = frames > self.confirmed;
        self.confirmed = self.confirmed.max(frames);
        self.trim();
        news
    }

    /// Messages written and not confirmed. Exact, unless a run of several kinds is confirmed in part; then an
    /// upper bound.
    pub(super) fn unconfirmed(&self) -> u64 {
        self.runs.iter().map(|run| run.messages).sum()
    }

    /// Whether every frame that was written was handed over.
    pub(super) fn is_confirmed(&self) -> bool {
        self.runs.is_empty()
    }

    fn trim(&mut self) {
        while let Some(first) = self.runs.front_mut() {
            let ahead = self.confirmed.saturating_sub(self.passed);
            if ahead < first.frames {
                self.passed += ahead;
                first.frames -= ahead;
                first.messages = first.messages.min(first.frames);
                return;
            }
            self.passed += first.frames;
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_less_than_what_is_lost(kinds in proptest::collection::vec((1..5_u64, any::<bool>()), 0..200),
            reports in proptest::collection::vec(0..400_u64, 0..10),
        ) {
            let mut generation = Generation::new(1, (ConnectionId(1), 2));
            let mut written = Vec::new();
            let mut reports = reports.into_iter();
            let mut confirmed = 0;
            for (at, (frames, message)) in kinds.into_iter().enumerate() {
                let messages = if message { frames } else { 0 };
                generation.wrote(Count { frames, messages });
                written.extend((0..frames).map(|_| message));
                if at % 20 == 19 && let Some(report) = reports.next() {
                    confirmed = confirmed.max(report.min(written.len() as u64));
                    generation.confirm(report.min(written.len() as u64));
                }
            }
            let lost = written.iter().skip(confirmed as usize).filter(|message| **message).count() as u64;
            prop_assert!(generation.unconfirmed() >= lost);
            prop_assert!(generation.runs.len() <= MAX_RUNS);
            generation.confirm(written.len() as u64);
            prop_assert_eq!(generation.unconfirmed(), 0);
        }
    }

    #[test]
    fn a_report_may_come_before_the_write_is_noted() {
        let mut generation = Generation::new(1, (ConnectionId(1), 2));
        generation.confirm(3);
        generation.wrote(Count { frames: 5, messages: 5 });
        assert_eq!(generation.unconfirmed(), 2);
    }
}
