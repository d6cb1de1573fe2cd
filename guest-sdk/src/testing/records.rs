//! What a test sees of what a plugin did.

use crate::abi::{Level, PeerId, ProtocolKey};

/// A message the plugin sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: PeerId,
    /// By which of its protocols.
    pub protocol: ProtocolKey,
    /// What.
    pub body: Vec<u8>,
}

/// A request the plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What `ask` returned.
    pub id: u64,
    /// Whom it asked.
    pub to: PeerId,
    /// By which of its protocols.
    pub protocol: ProtocolKey,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u32,
    /// What it asked.
    pub body: Vec<u8>,
}

/// A call to another plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallMade {
    /// What `call` returned.
    pub id: u64,
    /// Which plugin.
    pub plugin: String,
    /// Which command.
    pub name: String,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u32,
    /// The arguments as JSON.
    pub body: Vec<u8>,
}

/// A line the plugin logged. Like the host's log it keeps what a failed turn wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How bad.
    pub level: Level,
    /// Which module wrote it.
    pub target: String,
    /// What it says.
    pub message: String,
}
