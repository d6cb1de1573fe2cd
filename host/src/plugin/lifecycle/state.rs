//! The states of a revision, and which event leads from one to which. Pure.
//!
//! `docs/lifecycle.md` has the same table for people; a test holds the two together.

use std::fmt;

use serde::Serialize;

/// What a revision is doing. The one of a plugin is that of the revision that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// Its bytes are here and their digest is known. Nothing of them was looked at.
    Staged,
    /// Signature and pinned digest are as the operator wants them.
    Verified,
    /// Compiled, its manifest checked, its capabilities granted. Nothing of it ran for real.
    Compiled,
    /// Its `start` returned ok; what it staged is not committed yet.
    Started,
    /// It handles events.
    Active,
    /// Its last turn or its snapshot is under way: another revision takes over, or the plugin ends.
    Draining,
    /// It runs no more. It may be kept for a rollback.
    Retired,
    /// It crashed and is made anew, after a pause.
    BackingOff,
    /// It crashed too often: unregistered, until an upgrade, a rollback or an unload, or until it is tried again.
    Quarantined,
}

/// What happens to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Signature and digest were checked.
    Verified,
    /// The compiler, the manifest and the grants had nothing against it.
    Compiled,
    /// `start` returned ok.
    Started,
    /// The turn of `start` was committed.
    Committed,
    /// It is asked for its snapshot or its last turn.
    Drained,
    /// The revision that was to follow failed: this one goes on.
    Resumed,
    /// Another one took over, or the plugin ended.
    Retired,
    /// It will not run: a check, its start or its commit failed.
    Refused,
    /// A call into it failed, or is about to fail alone; its instance is gone.
    Crashed,
    /// It is to be made anew.
    Retried,
    /// It crashed more often than it may.
    Exhausted,
    /// A rollback takes it up again.
    Recalled,
}

/// An event that a state does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revision that is {state} cannot be {event}")]
pub struct NotAllowed {
    /// The state it is in.
    pub state: PluginState,
    /// What was to happen.
    pub event: Event,
}

impl PluginState {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Staged,
        Self::Verified,
        Self::Compiled,
        Self::Started,
        Self::Active,
        Self::BackingOff,
        Self::Quarantined,
        Self::Draining,
        Self::Retired,
    ];

    /// The state after an event.
    ///
    /// # Errors
    /// When the event cannot happen in this state.
    pub fn next(self, event: Event) -> Result<Self, NotAllowed> {
        use PluginState::{Active, BackingOff, Compiled, Draining, Quarantined, Retired, Staged, Started, Verified};
        Ok(match (self, event) {
            (Staged, Event::Verified) => Verified,
            (Verified, Event::Compiled) => Compiled,
            (Compiled, Event::Started) => Started,
            (Started, Event::Committed) => Active,
            (Staged | Verified | Compiled | Started, Event::Refused) => Retired,
            // A running revision that is made anew passes through these two again.
            (Compiled | Started | Active | Draining | BackingOff, Event::Crashed) => BackingOff,
            (Compiled | Started | Active | Draining | BackingOff, Event::Exhausted) => Quarantined,
            (BackingOff | Quarantined, Event::Retried) => Compiled,
            (Active, Event::Drained) => Draining,
            (Draining, Event::Resumed) => Active,
            // Without an instance there is nothing to drain.
            (Draining | BackingOff | Quarantined, Event::Retired) => Retired,
            // What was refused is retired, too: whoever comes back is checked like everybody else.
            (Retired, Event::Recalled) => Staged,
            (state, event) => return Err(NotAllowed { state, event }),
        })
    }

    /// The name that people and programs read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Started => "started",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::BackingOff => "backing-off",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Verified,
        Self::Compiled,
        Self::Started,
        Self::Committed,
        Self::Refused,
        Self::Crashed,
        Self::Retried,
        Self::Exhausted,
        Self::Drained,
        Self::Resumed,
        Self::Retired,
        Self::Recalled,
    ];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Started => "started",
            Self::Committed => "committed",
            Self::Drained => "drained",
            Self::Resumed => "resumed",
            Self::Retired => "retired",
            Self::Refused => "refused",
            Self::Crashed => "crashed",
            Self::Retried => "retried",
            Self::Exhausted => "exhausted",
            Self::Recalled => "recalled",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
