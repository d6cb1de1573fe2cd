//! What is known about a crash, and what to do about it. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::peer::PeerId;

/// Functions of a backtrace that name a place.
const PLACE_FRAMES: usize = 4;

/// How a call into a plugin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicNote {
    /// The position in the batch, if it was in one.
    pub event: Option<u32>,
    /// The panic's message.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
}

/// How one call failed, before it is known in what context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What to do about it.
    pub next_step: String,
}

impl CallFailure {
    /// A failure that no call of the guest is behind, or none that tells more.
    pub(super) fn new(kind: CrashKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), panic: None, refused_memory: None, backtrace: Vec::new() }
    }

    /// Names where it failed: the same for two failures at the same place, and for no others as far as the guest says.
    pub(super) fn place(&self) -> String {
        let frames = || self.backtrace.iter().take(PLACE_FRAMES).map(String::as_str).collect::<Vec<_>>().join(" < ");
        match (self.kind, &self.panic) {
            (CrashKind::Trap, Some(panic)) => format!("panic at {}", panic.location),
            (CrashKind::Trap, None) => format!("{} in {}", self.reason, frames()),
            // Where a loop is when its time is over is chance.
            (CrashKind::Timeout, _) => "out of time".to_owned(),
            (CrashKind::Error | CrashKind::BadResult | CrashKind::Commit, _) => self.reason.clone(),
        }
    }
}

impl CrashReport {
    pub(super) fn new(
        manifest: &Manifest,
        revision: u64,
        event: &str,
        position: Option<usize>,
        peer: Option<PeerId>,
        failure: CallFailure,
    ) -> Self {
        let next_step = next_step(&manifest.name, event, &failure);
        let (plugin, version, event) = (manifest.name.clone(), manifest.version.clone(), event.to_owned());
        Self { plugin, version, revision, event, position, peer, failure, next_step }
    }
}

/// What an operator or author does next.
fn next_step(plugin: &str, event: &str, failure: &CallFailure) -> String {
    let place = match (&failure.panic, failure.backtrace.first()) {
        (Some(panic), _) => panic.location.clone(),
        (None, Some(function)) => format!("`{function}`"),
        (None, None) => "what it did last".to_owned(),
    };
    let letter = matches!(event, "message" | "request" | "command" | "timer");
    let again = if letter {
        format!("; `weir plugin dead-letters {plugin}` shows the event and tries it again")
    } else {
        String::new()
    };
    if failure.refused_memory.is_some() {
        return format!(
            "raise plugins.max_memory in weir.toml if it needs that much by right; else find at {place} what grows{again}"
        );
    }
    match failure.kind {
        CrashKind::Trap => format!("look at {place}, mend it and run `weir plugin upgrade {plugin} FILE`{again}"),
        CrashKind::Timeout => format!(
            "look for a loop at {place}; split long work with timers, or raise plugins.max_turn_time in weir.toml{again}"
        ),
        CrashKind::Error if event == "start" => {
            format!("do what the error says, in its grants or [plugins.{plugin}.config], or mend it")
        }
        CrashKind::Error => format!(
            "an error of the whole turn discards it: return one from the event's own method to lose that event \
             alone{again}"
        ),
        CrashKind::BadResult => {
            format!("build it again with an SDK of this node's ABI and run `weir plugin upgrade {plugin} FILE`{again}")
        }
        CrashKind::Commit => "look at the node's disk and its log: the plugin did nothing wrong".to_owned(),
    }
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
        write!(f, ". Next: {}", self.next_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_plugin_event_and_place() {
        let panic = PanicNote { event: Some(3), message: "poison".into(), location: "src/lib.rs:7:9".into() };
        let failure = CallFailure {
            panic: Some(Box::new(panic)),
            backtrace: vec!["weir::handle".into()],
            ..CallFailure::new(CrashKind::Trap, "wasm trap: unreachable")
        };
        let next_step = next_step("ping", "message", &failure);
        let report = CrashReport {
            plugin: "ping".into(),
            version: "0.1.0".into(),
            revision: 2,
            event: "message".into(),
            position: Some(3),
            peer: Some(PeerId::from_bytes([7; 32])),
            failure,
            next_step,
        };
        assert_eq!(
            report.to_string(),
            "plugin ping 0.1.0 (revision 2) failed in message at position 3 of its batch from peer 0707070707: wasm \
             trap: unreachable; panicked at src/lib.rs:7:9: poison; in weir::handle. Next: look at src/lib.rs:7:9, mend \
             it and run `weir plugin upgrade ping FILE`; `weir plugin dead-letters ping` shows the event and tries it \
             again"
        );
        let json = serde_json::to_string(&report).expect("JSON");
        assert_eq!(serde_json::from_str::<CrashReport>(&json).expect("the same"), report);
    }

    #[test]
    fn places_are_the_same_for_the_same_fault_only() {
        let failure = |kind, reason: &str, frames: &[&str]| CallFailure {
            backtrace: frames.iter().map(|name| (*name).to_owned()).collect(),
            ..CallFailure::new(kind, reason)
        };
        let trap = failure(CrashKind::Trap, "unreachable", &["a", "b"]).place();
        assert_eq!(trap, failure(CrashKind::Trap, "unreachable", &["a", "b"]).place());
        assert_ne!(trap, failure(CrashKind::Trap, "unreachable", &["c", "b"]).place());
        let loops = [["a"], ["b"]].map(|frames| failure(CrashKind::Timeout, "1000 ms", &frames).place());
        assert_eq!(loops[0], loops[1]);
    }

    #[test]
    fn every_kind_has_a_next_step() {
        let kinds = [CrashKind::Trap, CrashKind::Timeout, CrashKind::Error, CrashKind::BadResult, CrashKind::Commit];
        for (kind, event) in kinds.into_iter().zip(["start", "message", "snapshot", "peer-supported", "timer"]) {
            assert!(next_step("ping", event, &CallFailure::new(kind, "x")).len() > 20);
        }
    }
}
