//! What happened, as plain data that can be compared byte by byte, whatever ran the plugins.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Note;
use crate::abi::PeerId;

/// How much of a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceMode {
    /// Nothing.
    Off,
    /// A digest: enough to see that two runs were the same.
    Digest,
    /// Every entry: enough to see where they were not.
    Full,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run began.
    pub at_us: u64,
    /// On which node.
    pub node: u32,
    /// In which of its plugins.
    pub plugin: u32,
    /// What.
    pub note: Note,
}

/// A run, entry by entry.
pub struct Trace {
    mode: TraceMode,
    hash: Sha256,
    entries: Vec<Entry>,
    count: u64,
    names: BTreeMap<PeerId, u32>,
}

impl Trace {
    /// An empty one.
    pub fn new(mode: TraceMode) -> Self {
        Self { mode, hash: Sha256::new(), entries: Vec::new(), count: 0, names: BTreeMap::new() }
    }

    pub(crate) fn name(&mut self, peer: PeerId, node: u32) {
        self.names.insert(peer, node);
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.mode != TraceMode::Off
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Entry) {
        if !self.is_on() {
            return;
        }
        self.count += 1;
        // An entry is plain data of bounded size, so it always becomes bytes.
        self.hash.update(postcard::to_allocvec(&entry).expect("an entry becomes bytes"));
        if self.mode == TraceMode::Full {
            self.entries.push(entry);
        }
    }

    /// How many entries there were.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries, in [`TraceMode::Full`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The SHA-256 of all entries in postcard: equal for equal runs.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The first difference of two full traces, for people. None where there is none.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let ours = self.entries.iter().map(Some).chain(std::iter::repeat(None));
        let theirs = other.entries.iter().map(Some).chain(std::iter::repeat(None));
        let pairs = ours.zip(theirs).take(self.entries.len().max(other.entries.len()));
        let (at, (our, their)) = pairs.enumerate().find(|(_, (our, their))| our != their)?;
        let line = |entry: Option<&Entry>| entry.map_or("nothing".to_owned(), |entry| self.line(entry));
        Some(format!("entry {at}:\n  one:   {}\n  other: {}", line(our), line(their)))
    }

    fn line(&self, entry: &Entry) -> String {
        let note = &entry.note;
        let mut line = format!("{:>12} n{:02}.{} {}", entry.at_us, entry.node, entry.plugin, note.kind);
        for peer in &note.peers {
            // Writing to a String cannot fail.
            let _ = match self.names.get(peer) {
                Some(node) => write!(line, " n{node:02}"),
                None => write!(line, " {}", peer.short()),
            };
        }
        let numbers = [("/", note.protocol.map(u64::from)), ("id ", note.id), ("", note.number)];
        for (what, number) in numbers {
            if let Some(number) = number {
                let _ = write!(line, " {what}{number}");
            }
        }
        if !note.text.is_empty() {
            let _ = write!(line, " {:?}", note.text);
        }
        if let Some(body) = note.body {
            let _ = write!(line, " [{} B {:016x}]", body.len, body.digest);
        }
        line
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{}", self.line(entry)))
    }
}
