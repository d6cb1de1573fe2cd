//! The last lines of one plugin: bounded in number and bytes. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;

/// Memory that a line takes beside its texts, in bytes.
const LINE_BYTES: usize = 192;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    #[default]
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Something failed.
    Error,
}

/// The text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level: there are trace, debug, info, warn and error")]
pub struct UnknownLevel(String);

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let all = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];
        all.into_iter().find(|level| level.name() == text).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

impl LogLevel {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line before it has its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// The part of the plugin that speaks, as it names itself; `weir` where the node speaks of the plugin.
    pub target: String,
    /// The number of the revision that ran.
    pub revision: u64,
    /// What it handled: `start`, `snapshot`, or the kind of the only event of its batch.
    pub event: Option<String>,
    /// The peer behind that event.
    pub peer: Option<PeerId>,
    /// The turn was run again, so the line may stand here twice.
    pub replay: bool,
    /// What it says. It may have several lines.
    pub message: String,
}

/// A line that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts the lines of the plugin since the node started, from 1.
    pub number: u64,
    /// The rest.
    #[serde(flatten)]
    pub entry: LogEntry,
}

impl LogEntry {
    fn bytes(&self) -> usize {
        LINE_BYTES + self.message.len() + self.target.len() + self.event.as_ref().map_or(0, String::len)
    }
}

/// Which lines somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Only lines with a greater number, from the first of them on. None: the last ones there are.
    pub after: Option<u64>,
    /// Only lines of this moment or later, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Only lines that matter at least as much.
    pub level: LogLevel,
    /// So many at most.
    pub most: usize,
}

/// Lines that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogPage {
    /// In the order in which they were written.
    pub lines: Vec<LogLine>,
    /// Asking for what comes after this number goes on here.
    pub next: u64,
    /// Lines of which it cannot be said whether they were wanted, because newer ones have taken their place.
    pub lost: u64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::plugin) struct LogRing {
    most_lines: usize,
    most_bytes: usize,
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the newest line.
    last: u64,
}

impl LogRing {
    pub(in crate::plugin) fn new(most_lines: usize, most_bytes: usize) -> Self {
        Self { most_lines, most_bytes, lines: VecDeque::new(), bytes: 0, last: 0 }
    }

    /// Keeps a line, in the place of the oldest ones where there is no room. One that is too large alone is counted.
    pub(in crate::plugin) fn push(&mut self, entry: LogEntry) {
        self.last += 1;
        self.bytes += entry.bytes();
        self.lines.push_back(LogLine { number: self.last, entry });
        while self.lines.len() > self.most_lines || self.bytes > self.most_bytes {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.entry.bytes();
        }
    }

    /// When the newest line was written.
    pub(super) fn newest_ms(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.entry.unix_ms)
    }

    pub(in crate::plugin) fn read(&self, query: &LogQuery) -> LogPage {
        let first = self.lines.front().map_or(self.last + 1, |line| line.number);
        let after = query.after.unwrap_or(0);
        let wanted = |line: &&LogLine| {
            line.number > after && line.entry.unix_ms >= query.since_ms && line.entry.level >= query.level
        };
        let (mut lines, next): (Vec<LogLine>, u64) = match query.after {
            // The newest ones, so from the end on.
            None => (self.lines.iter().rev().filter(wanted).take(query.most).cloned().collect(), self.last),
            Some(after) => {
                let lines: Vec<_> = self.lines.iter().filter(wanted).take(query.most).cloned().collect();
                let whole = lines.len() < query.most;
                let next = if whole { self.last.max(after) } else { lines.last().map_or(after, |line| line.number) };
                (lines, next)
            }
        };
        if query.after.is_none() {
            lines.reverse();
        }
        // A number from before the node was started anew says nothing about this ring.
        let lost = if query.after.is_some() { (first - 1).saturating_sub(after) } else { 0 };
        LogPage { lines, next, lost }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(unix_ms: u64, level: LogLevel, message: &str) -> LogEntry {
        LogEntry {
            unix_ms,
            level,
            target: "t".to_owned(),
            revision: 1,
            event: None,
            peer: None,
            replay: false,
            message: message.to_owned(),
        }
    }

    fn numbers(page: &LogPage) -> Vec<u64> {
        page.lines.iter().map(|line| line.number).collect()
    }

    fn ring(lines: u64) -> LogRing {
        let mut ring = LogRing::new(5, 1 << 20);
        for number in 1..=lines {
            let level = if number % 2 == 0 { LogLevel::Warn } else { LogLevel::Info };
            ring.push(entry(number * 10, level, "m"));
        }
        ring
    }

    #[test]
    fn the_newest_lines_are_kept_and_shown() {
        let ring = ring(8);
        let page = ring.read(&LogQuery { most: 100, ..LogQuery::default() });
        assert_eq!((numbers(&page), page.next, page.lost), (vec![4, 5, 6, 7, 8], 8, 0));
        let page = ring.read(&LogQuery { most: 2, ..LogQuery::default() });
        assert_eq!(numbers(&page), [7, 8]);
        let page = ring.read(&LogQuery { most: 100, since_ms: 61, level: LogLevel::Warn, after: None });
        assert_eq!(numbers(&page), [8]);
    }

    #[test]
    fn who_follows_misses_nothing_but_what_is_said_to_be_lost() {
        let ring = ring(8);
        let ask = |after, most| ring.read(&LogQuery { after: Some(after), most, ..LogQuery::default() });
        assert_eq!((numbers(&ask(5, 2)), ask(5, 2).next), (vec![6, 7], 7));
        assert_eq!((numbers(&ask(7, 2)), ask(7, 2).next), (vec![8], 8));
        assert_eq!((numbers(&ask(8, 2)), ask(8, 2).next), (vec![], 8));
        assert_eq!((numbers(&ask(1, 9)), ask(1, 9).lost), (vec![4, 5, 6, 7, 8], 2));
    }

    #[test]
    fn lines_that_are_not_wanted_are_passed_over_once() {
        let page = ring(8).read(&LogQuery { after: Some(4), level: LogLevel::Error, most: 5, since_ms: 0 });
        assert_eq!((page.lines, page.next), (vec![], 8));
    }

    #[test]
    fn a_level_is_read_as_it_is_written() {
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        assert!("Warn".parse::<LogLevel>().is_err());
        assert!(LogLevel::Error > LogLevel::Info);
    }

    proptest! {
        #[test]
        fn the_bounds_hold_whatever_is_written(sizes in prop::collection::vec(0_usize..4_000, 0..200)) {
            let mut ring = LogRing::new(20, 10_000);
            for (at, size) in sizes.iter().enumerate() {
                ring.push(entry(at as u64, LogLevel::Info, &"x".repeat(*size)));
                let held: usize = ring.lines.iter().map(|line| line.entry.bytes()).sum();
                prop_assert_eq!(held, ring.bytes);
                prop_assert!(ring.lines.len() <= 20 && ring.bytes <= 10_000);
            }
            prop_assert_eq!(ring.last, sizes.len() as u64);
        }
    }
}
