//! A plugin's store as a file: `docs/store-file.md`, written and read piece by piece. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every such file begins with.
const MAGIC: [u8; 8] = *b"WEIRSTOR";
/// The version that is written and read.
const VERSION: u32 = 1;
/// Longest head, in bytes: it holds a name and numbers.
const MAX_HEAD: u32 = 4 << 10;
/// Stands where the length of a key would, after the last entry. No key is as long.
const END: u32 = u32::MAX;
/// Bytes before the head: magic, version, length.
const START_BYTES: usize = 16;
/// Bytes after [`END`]: two counts and the digest.
const TAIL_BYTES: usize = 16 + 32;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What the file says of itself before the first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHead {
    /// Whose store it was.
    pub plugin: String,
    /// Bytes of keys and values when the export began; for showing progress only.
    pub bytes: u64,
    /// When the export began, in milliseconds since the Unix epoch.
    pub exported_ms: u64,
    /// The layout of what is in it; none when the node did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_version: Option<u32>,
    /// The version of the plugin that wrote it last, if the node knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What was in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ArchiveTotals {
    /// Keys.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Longest key, in bytes.
    pub key: u32,
    /// Largest value, in bytes.
    pub value: u32,
    /// Bytes of keys and values together.
    pub bytes: u64,
}

impl ArchiveLimits {
    /// For whoever only checks a file, piece by piece.
    pub const NONE: Self = Self { key: u32::MAX - 1, value: u32::MAX, bytes: u64::MAX };
}

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It is something else.
    #[error("this is no store file of weir; export one with `weir plugin store export NAME FILE`")]
    Foreign,
    /// A newer version wrote it.
    #[error("the store file has version {found} and this weir reads {VERSION}; use the weir that wrote it")]
    TooNew {
        /// Its version.
        found: u32,
    },
    /// It ends too early, or goes on after its end.
    #[error("the store file is cut off or damaged after {entries} entries: {reason}; export or copy it again")]
    Damaged {
        /// The entries that were read.
        entries: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry is larger than the plugin could have written, or all of them are.
    #[error("the store file holds {what} of {size} bytes and the limit is {limit}: {fix}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
        /// What to do.
        fix: &'static str,
    },
}

impl ArchiveError {
    /// The stable name of the case, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "not-a-store-file",
            Self::TooNew { .. } => "store-file-too-new",
            Self::Damaged { .. } => "store-file-damaged",
            Self::TooLarge { .. } => "store-over-quota",
        }
    }
}

/// Writes a file: the start, the entries in the order of their keys, the end.
#[derive(Debug)]
pub struct ArchiveWriter {
    digest: Sha256,
    totals: ArchiveTotals,
}

impl ArchiveWriter {
    /// Begins a file: its first bytes.
    pub fn begin(head: &ArchiveHead) -> (Self, Bytes) {
        // A name and two numbers are always JSON.
        let head = serde_json::to_vec(head).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or(MAX_HEAD);
        let start = [&MAGIC, VERSION.to_be_bytes().as_slice(), &length.to_be_bytes(), &head].concat();
        let mut writer = Self { digest: Sha256::new(), totals: ArchiveTotals::default() };
        writer.digest.update(&start);
        (writer, start.into())
    }

    /// The bytes of some entries.
    pub fn entries(&mut self, entries: &[Entry]) -> Bytes {
        let mut out = Vec::with_capacity(entries.iter().map(|(key, value)| 8 + key.len() + value.len()).sum());
        for (key, value) in entries {
            out.extend_from_slice(&(key.len() as u32).to_be_bytes());
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value);
            self.totals.entries += 1;
            self.totals.bytes += (key.len() + value.len()) as u64;
        }
        self.digest.update(&out);
        out.into()
    }

    /// The last bytes, and what was written.
    pub fn end(mut self) -> (Bytes, ArchiveTotals) {
        let ArchiveTotals { entries, bytes } = self.totals;
        let mut out = [END.to_be_bytes().as_slice(), &entries.to_be_bytes(), &bytes.to_be_bytes()].concat();
        self.digest.update(&out);
        out.extend_from_slice(&self.digest.finalize());
        (out.into(), self.totals)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Start,
    Entry,
    Tail,
    Nothing,
}

/// Reads a file in pieces of any size. What it gives out counts only when [`ArchiveReader::finish`] says so.
#[derive(Debug)]
pub struct ArchiveReader {
    limits: ArchiveLimits,
    /// What was not read yet: less than one entry.
    rest: Vec<u8>,
    expected: Expected,
    head: Option<ArchiveHead>,
    last: Option<Vec<u8>>,
    totals: ArchiveTotals,
    digest: Sha256,
}

impl ArchiveReader {
    /// For a file whose entries keep these limits.
    pub fn new(limits: ArchiveLimits) -> Self {
        let (rest, expected, digest) = (Vec::new(), Expected::Start, Sha256::new());
        Self { limits, rest, expected, head: None, last: None, totals: ArchiveTotals::default(), digest }
    }

    /// What the file says of itself, once that was read.
    pub fn head(&self) -> Option<&ArchiveHead> {
        self.head.as_ref()
    }

    /// Takes the next bytes: the entries that are whole with them, in order. Keeps at most one entry of the limits' size
    /// and what was passed in.
    ///
    /// # Errors
    /// When the file is not to be taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
        self.rest.extend_from_slice(bytes);
        let (mut entries, mut at) = (Vec::new(), 0);
        while let Some(read) = self.step(at, &mut entries)? {
            at += read;
        }
        self.rest.drain(..at);
        Ok(entries)
    }

    /// The file is at its end.
    ///
    /// # Errors
    /// When that is too early.
    pub fn finish(self) -> Result<ArchiveTotals, ArchiveError> {
        match self.expected {
            Expected::Nothing => Ok(self.totals),
            Expected::Start => Err(ArchiveError::Foreign),
            _ => Err(self.damaged("its end is missing")),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { entries: self.totals.entries, reason: reason.into() }
    }

    /// Reads what comes at `at`, if it is there whole: how long it was.
    fn step(&mut self, at: usize, entries: &mut Vec<Entry>) -> Result<Option<usize>, ArchiveError> {
        let rest = self.rest.get(at..).unwrap_or_default();
        match self.expected {
            Expected::Start => self.start(),
            Expected::Entry if number(rest, 0) == Some(END) => {
                self.digest.update(&rest[..4]);
                self.expected = Expected::Tail;
                Ok(Some(4))
            }
            Expected::Entry => self.entry(at, entries),
            Expected::Tail if rest.len() >= TAIL_BYTES => self.tail(at),
            Expected::Nothing if !rest.is_empty() => Err(self.damaged("it goes on after its end")),
            Expected::Tail | Expected::Nothing => Ok(None),
        }
    }

    fn start(&mut self) -> Result<Option<usize>, ArchiveError> {
        let known = self.rest.len().min(MAGIC.len());
        if self.rest[..known] != MAGIC[..known] {
            return Err(ArchiveError::Foreign);
        }
        let (Some(version), Some(length)) = (number(&self.rest, 8), number(&self.rest, 12)) else { return Ok(None) };
        if version != VERSION {
            return Err(ArchiveError::TooNew { found: version });
        }
        if length > MAX_HEAD {
            return Err(self.damaged(format!("its head has {length} bytes")));
        }
        let whole = START_BYTES + length as usize;
        let Some(head) = self.rest.get(START_BYTES..whole) else { return Ok(None) };
        let head =
            serde_json::from_slice(head).map_err(|error| self.damaged(format!("its head is no JSON: {error}")))?;
        self.head = Some(head);
        self.digest.update(&self.rest[..whole]);
        self.expected = Expected::Entry;
        Ok(Some(whole))
    }

    fn entry(&mut self, at: usize, entries: &mut Vec<Entry>) -> Result<Option<usize>, ArchiveError> {
        let rest = self.rest.get(at..).unwrap_or_default();
        let (Some(key), Some(value)) = (number(rest, 0), number(rest, 4)) else { return Ok(None) };
        self.check(key, value)?;
        let (from, to) = (8 + key as usize, 8 + key as usize + value as usize);
        let (Some(key), Some(value)) = (rest.get(8..from), rest.get(from..to)) else { return Ok(None) };
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return Err(self.damaged("its keys are not in order"));
        }
        self.last = Some(key.to_vec());
        entries.push((key.to_vec(), value.to_vec()));
        self.totals.entries += 1;
        self.totals.bytes += (key.len() + value.len()) as u64;
        self.digest.update(&rest[..to]);
        Ok(Some(to))
    }

    /// Looks at lengths before anything is kept for them.
    fn check(&self, key: u32, value: u32) -> Result<(), ArchiveError> {
        let sum = self.totals.bytes + u64::from(key) + u64::from(value);
        let fix = "a plugin with these limits could not have written it; was it another plugin's, or is it damaged?";
        let all = "raise the store limit in weir.toml (`plugins.max_store`) and start the node again";
        let found = [
            ("a key", key.into(), self.limits.key.into(), fix),
            ("a value", value.into(), self.limits.value.into(), fix),
            ("entries", sum, self.limits.bytes, all),
        ];
        match found.into_iter().find(|(_, size, limit, _)| size > limit) {
            Some((what, size, limit, fix)) => Err(ArchiveError::TooLarge { what, size, limit, fix }),
            None => Ok(()),
        }
    }

    fn tail(&mut self, at: usize) -> Result<Option<usize>, ArchiveError> {
        let (counts, digest) = self.rest[at..at + TAIL_BYTES].split_at(16);
        self.digest.update(counts);
        let found = std::mem::take(&mut self.digest).finalize();
        let expected = [self.totals.entries.to_be_bytes(), self.totals.bytes.to_be_bytes()].concat();
        if counts != expected.as_slice() || digest != found.as_slice() {
            return Err(self.damaged("its checksum is another"));
        }
        self.expected = Expected::Nothing;
        Ok(Some(TAIL_BYTES))
    }
}

/// A big-endian number.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
