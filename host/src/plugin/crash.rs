//! What is known about a crash, and how many a plugin may have. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::peer::PeerId;

/// How a call into a plugin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashKind {
    /// It trapped: a panic, an out-of-bounds access, an import it was refused.
    Trap,
    /// It used up its time.
    Timeout,
    /// It returned an error.
    Error,
    /// What it returned cannot be read.
    BadResult,
    /// The store refused its writes.
    Commit,
}

/// What the panic hook of the SDK told before the trap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PanicNote {
    /// The position in the batch, if it was in one.
    pub event: Option<u32>,
    /// The panic's message.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
}

/// How one call failed, before it is known in what context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallFailure {
    /// How.
    pub kind: CrashKind,
    /// In words.
    pub reason: String,
    /// The panic behind it, if the guest told of one.
    pub panic: Option<Box<PanicNote>>,
    /// Bytes of memory it asked for and was refused in this call.
    pub refused_memory: Option<u64>,
    /// The innermost functions of the guest, if their names are known.
    pub backtrace: Vec<String>,
}

/// A crash with all that attributes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrashReport {
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The number of its revision.
    pub revision: u64,
    /// What ran: `start`, `snapshot`, or the kind of event.
    pub event: String,
    /// The position of the event in its batch, counted from 0.
    pub position: Option<usize>,
    /// The peer behind the event.
    pub peer: Option<PeerId>,
    /// How it failed.
    #[serde(flatten)]
    pub failure: CallFailure,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} {} (revision {}) failed in {}", self.plugin, self.version, self.revision, self.event)?;
        if let Some(position) = self.position {
            write!(f, " at position {position} of its batch")?;
        }
        if let Some(peer) = self.peer {
            write!(f, " from peer {}", peer.short())?;
        }
        write!(f, ": {}", self.failure.reason)?;
        if let Some(panic) = &self.failure.panic {
            write!(f, "; panicked at {}: {}", panic.location, panic.message)?;
        }
        if let Some(bytes) = self.failure.refused_memory {
            write!(f, "; it had been refused memory when it asked for {bytes} bytes in all")?;
        }
        if !self.failure.backtrace.is_empty() {
            write!(f, "; in {}", self.failure.backtrace.join(" < "))?;
        }
        Ok(())
    }
}

/// Counts crashes within a window. `N` is a point in time.
#[derive(Debug)]
pub(super) struct CrashBudget<N> {
    most: usize,
    window: Duration,
    recent: VecDeque<N>,
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> CrashBudget<N> {
    pub(super) fn new(most: usize, window: Duration) -> Self {
        Self { most, window, recent: VecDeque::new() }
    }

    /// Counts one; true when the budget is used up.
    pub(super) fn crashed(&mut self, now: N) -> bool {
        while self.recent.front().is_some_and(|&at| at + self.window <= now) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() >= self.most
    }

    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crashes_within_the_window_count() {
        let mut budget = CrashBudget::<Duration>::new(3, Duration::from_secs(60));
        let crashes = [0, 10, 61, 62, 63].map(|s| budget.crashed(Duration::from_secs(s)));
        assert_eq!(crashes, [false, false, false, true, true]);
    }

    #[test]
    fn a_report_names_plugin_event_and_place() {
        let panic = PanicNote { event: Some(3), message: "poison".into(), location: "src/lib.rs:7:9".into() };
        let failure = CallFailure {
            kind: CrashKind::Trap,
            reason: "wasm trap: unreachable".into(),
            panic: Some(Box::new(panic)),
            refused_memory: None,
            backtrace: vec!["weir::handle".into()],
        };
        let report = CrashReport {
            plugin: "ping".into(),
            version: "0.1.0".into(),
            revision: 2,
            event: "message".into(),
            position: Some(3),
            peer: Some(PeerId::from_bytes([7; 32])),
            failure,
        };
        assert_eq!(
            report.to_string(),
            "plugin ping 0.1.0 (revision 2) failed in message at position 3 of its batch from peer 0707070707: wasm \
             trap: unreachable; panicked at src/lib.rs:7:9: poison; in weir::handle"
        );
    }
}
