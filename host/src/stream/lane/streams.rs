//! The streams of a lane until the peer has reported their ends: what the next header says, and what of them is
//! lost. Pure.
//!
//! A lane writes one stream at a time. The next header names the last one that was finished whole, so the receiver
//! reads them in order whatever connections they are on.

use std::time::Duration;

use super::generation::{Generation, StreamName};
use super::queue::Count;
use crate::connection::ConnectionId;
use crate::stream::Home;
use crate::wire::StreamOutcome;

/// How long the next stream waits after one that was stopped before it delivered anything; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How many times it is doubled: up to 3.2 s.
const MAX_DOUBLINGS: u32 = 5;

/// What the header of a stream says, and where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) generation: u64,
    pub(super) after: u64,
    /// The connection of the stream before, when it was another.
    pub(super) moved_from: Option<ConnectionId>,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Streams whose end the peer has not reported, oldest first.
    generations: Vec<Generation>,
    /// The stream that is written, or parked to be written again.
    current: Option<StreamName>,
    /// The stream of the write under way: what that has taken is only known when it settles.
    busy: Option<StreamName>,
    /// A stream whose end was reported before it was used: refused as it stood open, unused.
    early_end: Option<StreamName>,
    last_number: u64,
    last_connection: Option<ConnectionId>,
    /// Highest generation that was finished whole and read to its end.
    read_whole: u64,
    /// Streams in a row that were stopped before they delivered anything.
    failures: u32,
    /// Counts signs that the peer takes something.
    moves: u64,
}

impl Streams {
    /// A fresh stream is in hand.
    pub(super) fn open(&mut self, name: StreamName) -> Opened {
        // It was parked, and the pool lends a lane another stream only after it finished the parked one.
        if let Some(parked) = self.current.take() {
            self.finished(parked);
        }
        self.last_number += 1;
        let moved_from = self.last_connection.replace(name.0).filter(|last| *last != name.0);
        let opened = Opened { generation: self.last_number, after: self.after(), moved_from };
        if self.early_end.take() != Some(name) {
            self.generations.push(Generation::new(self.last_number, name));
            self.current = Some(name);
        }
        opened
    }

    pub(super) fn is_current(&self, name: StreamName) -> bool {
        self.current == Some(name)
    }

    /// Whether the peer has not reported the end of the stream.
    pub(super) fn has(&self, name: StreamName) -> bool {
        self.generations.iter().any(|generation| generation.name == name)
    }

    /// Nothing more is written on the current stream.
    pub(super) fn leave(&mut self) {
        self.current = None;
    }

    /// A write begins.
    pub(super) fn writes(&mut self, name: StreamName) {
        self.busy = Some(name);
    }

    /// The write came to its end or was dropped, after so much was taken: how many messages are lost.
    pub(super) fn wrote(&mut self, name: StreamName, taken: impl Iterator<Item = Count>) -> u64 {
        self.busy = None;
        let mut lost = 0;
        let mut any = false;
        let at = self.at(name);
        for count in taken {
            any = true;
            match at.and_then(|at| self.generations.get_mut(at)) {
                Some(generation) => generation.wrote(count),
                None => lost += count.messages,
            }
        }
        self.moves += u64::from(any);
        if let Some(at) = at.filter(|at| self.generations[*at].over) {
            lost += self.generations.remove(at).unconfirmed();
        }
        lost
    }

    /// The stream takes nothing more.
    pub(super) fn failed(&mut self, name: StreamName) {
        if self.current == Some(name) {
            self.current = None;
        }
    }

    /// The stream was finished between two frames.
    pub(super) fn finished(&mut self, name: StreamName) {
        if let Some(generation) = self.generation(name) {
            generation.finished = true;
        }
        self.failed(name);
    }

    /// The peer has handed over so many frames of the stream.
    pub(super) fn progress(&mut self, name: StreamName, frames: u64) {
        if self.generation(name).is_some_and(|generation| generation.confirm(frames)) {
            self.failures = 0;
            self.moves += 1;
        }
    }

    /// The peer reported the end of the stream: how many messages are lost.
    pub(super) fn ended(&mut self, name: StreamName, frames: u64, outcome: StreamOutcome) -> u64 {
        self.progress(name, frames);
        match outcome {
            StreamOutcome::Finished => {
                let number = self.generation(name).map_or(0, |generation| generation.number);
                self.read_whole = self.read_whole.max(number);
            }
            StreamOutcome::Stopped(_) if frames == 0 => self.failures = self.failures.saturating_add(1),
            StreamOutcome::Stopped(_) => {}
        }
        self.over(name)
    }

    /// The connection is gone, and all its streams: how many messages are lost.
    pub(super) fn lost(&mut self, connection: ConnectionId) -> u64 {
        let names = self.generations.iter().map(|generation| generation.name);
        let names: Vec<_> = names.filter(|name| name.0 == connection).collect();
        names.into_iter().map(|name| self.over(name)).sum()
    }

    /// Whether every frame that was written was handed over.
    pub(super) fn is_confirmed(&self) -> bool {
        self.generations.iter().all(Generation::is_confirmed)
    }

    /// The connection of the newest stream whose end was not reported.
    pub(super) fn home(&self) -> Option<Home> {
        let newest = self.generations.iter().rfind(|generation| !generation.over)?;
        Some(Home { connection: newest.name.0, settled: self.is_confirmed() })
    }

    /// How long to wait before the next stream is opened, because the last ones delivered nothing.
    pub(super) fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?;
        Some(FIRST_PAUSE * 2_u32.pow(doublings.min(MAX_DOUBLINGS)))
    }

    /// Grows whenever the peer takes something.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// The last generation that the receiver must read before the next one: finished whole, and not lost.
    fn after(&self) -> u64 {
        let whole = self.generations.iter().filter(|generation| generation.finished);
        whole.map(|generation| generation.number).max().unwrap_or(0).max(self.read_whole)
    }

    fn at(&self, name: StreamName) -> Option<usize> {
        self.generations.iter().position(|generation| generation.name == name)
    }

    fn generation(&mut self, name: StreamName) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.name == name)
    }

    fn over(&mut self, name: StreamName) -> u64 {
        self.failed(name);
        match self.at(name) {
            None => self.early_end = Some(name),
            Some(at) if self.busy == Some(name) => self.generations[at].over = true,
            Some(at) => return self.generations.remove(at).unconfirmed(),
        }
        0
    }

    /// How many streams the peer has not reported as ended, but for those that wait for a write to settle.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.generations.iter().filter(|generation| !generation.over).count()
    }

    #[cfg(test)]
    pub(super) fn current(&self) -> Option<StreamName> {
        self.current
    }
}

#[cfg(test)]
#[path = "moving_tests.rs"]
mod tests;
