//! `Book`: what a key has signed, and what to sign or send next. Pure: the disk is [`crate::book_file`], the node [`crate::node`].
//!
//! Two different things signed with one number freeze an account for ever, and end an issuer's log. So the book holds to this:
//!
//! - What is signed is in the book, on the disk, before it leaves. Until a node has said that it has it, it is *open*.
//! - Who asks for the same again while it is open gets the same bytes sent again, not a second operation.
//! - Who asks for something else has what is open sent first.
//! - A number that the book has used is never signed again, also where a node has not heard of it, because it is behind,
//!   was restored from a backup, or is another one: it is sent what it lacks.
//! - Where a node has something else under a number of the book, nothing is signed at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_ledger::{Id, from_hex, hash};
use weir_plugin_staking::items::MAX_PAGE;

/// Entries kept of each log: a ledger lets at most as many be pending, so what is older is included or lost.
pub const KEPT: usize = 64;
/// Digits of pages kept of each log, 4 MiB: those of the newest entries. Where older ones are lost, a node asks its peers.
pub const KEPT_PAGES: usize = 4 << 20;

/// Something signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of which reign; 0 where there are none.
    pub reign: u64,
    /// Its number; of a claim, the epoch up to which it goes.
    pub seq: u64,
    /// Its id.
    pub id: Id,
    /// What it says, as it was asked for: `stake 100`.
    pub what: String,
    /// What is submitted, in hexadecimal digits.
    pub bytes: String,
    /// What goes with it, in hexadecimal digits: the pages that an epoch names. Where it was drafted they are kept only until
    /// other drafts are made, and nobody else has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<String>,
    /// Whether a node has said that it has it.
    pub settled: bool,
}

/// What comes next in a log, as a node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which reign; 0 where there are none.
    pub reign: u64,
    /// The number.
    pub seq: u64,
    /// The id before it.
    pub before: Id,
}

/// What to do about something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It was signed already and is open: send this.
    Again(Entry),
    /// The node lacks these: send them in order, then ask it again.
    First(Vec<Entry>),
    /// Sign it here.
    Sign(Place),
}

/// Why nothing is signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The number is taken by something that this book does not know.
    #[error(
        "number {seq} was signed here as `{what}`, and the node has something else there, so the key was also used with another book: \
         nothing is signed, because two operations with one number freeze an account for ever. Use the other book (the file \
         KEYFILE.book of that copy), or move on with a new key"
    )]
    SignedElsewhere {
        /// Which number.
        seq: u64,
        /// What the book has there.
        what: String,
    },
    /// It stays behind whatever it is sent.
    #[error(
        "the node goes on at number {theirs} and {ours} was signed already: it has not caught up with its peers. Let it, or name \
         another node with --dir; nothing is signed until then"
    )]
    NodeBehind {
        /// The next number as the node sees it.
        theirs: u64,
        /// The last one in the book.
        ours: u64,
    },
}

impl Conflict {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SignedElsewhere { .. } => "signed-elsewhere",
            Self::NodeBehind { .. } => "node-behind",
        }
    }
}

/// Which log of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogName {
    /// Operations of the account.
    Operations,
    /// Mints and epochs of the issuer.
    Decrees,
    /// Rotations of the recovery key.
    Rotations,
    /// Declarations of a payer.
    Declarations,
    /// Claims of an account.
    Claims,
}

/// One log: its last entries, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// The last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The entry that no node has confirmed yet.
    pub fn open(&self) -> Option<&Entry> {
        self.last().filter(|last| !last.settled)
    }

    /// What to do about `what`, in a log whose entries name the one before them.
    pub fn next(&self, what: &str, at: Place) -> Result<Next, Conflict> {
        let Some(last) = self.last() else { return Ok(Next::Sign(at)) };
        if last.reign < at.reign {
            // A rotation began another log; what the old reign left open counts no more.
            return Ok(Next::Sign(at));
        }
        let behind = Conflict::NodeBehind { theirs: at.seq, ours: last.seq };
        if last.reign > at.reign {
            return Err(behind);
        }
        let taken = || Conflict::SignedElsewhere { seq: last.seq, what: last.what.clone() };
        if at.seq > last.seq {
            let follows = at.seq == last.seq + 1;
            // One step behind the last entry the node says by which id it got there; further on it cannot be asked.
            if follows && at.before != last.id || !follows && !last.settled {
                return Err(taken());
            }
            return Ok(if last.settled { Next::Sign(at) } else { again_or_first(last, what, Vec::new()) });
        }
        let lacking: Vec<_> = self.of_reign(last.reign).filter(|entry| entry.seq >= at.seq).cloned().collect();
        match lacking.first() {
            Some(first) if first.seq == at.seq => {}
            _ => return Err(behind),
        }
        let before: Vec<_> = lacking.iter().filter(|entry| entry.seq < last.seq).cloned().collect();
        Ok(again_or_first(last, what, before))
    }

    /// What to do about `what`, in a log whose entries only have numbers.
    pub fn next_number(&self, what: &str, seq: u64) -> Next {
        match self.last() {
            Some(open) if !open.settled => again_or_first(open, what, Vec::new()),
            last => {
                let seq = last.map_or(seq, |last| seq.max(last.seq.saturating_add(1)));
                Next::Sign(Place { reign: 0, seq, before: Id::default() })
            }
        }
    }

    /// What to do about a claim up to an epoch. Two of them have the same bytes, so the one in the book is sent again, to a node
    /// that has forgotten it.
    pub fn next_claim(&self, epoch: u64) -> Next {
        if let Some(open) = self.open().filter(|open| open.seq != epoch) {
            return Next::First(vec![open.clone()]);
        }
        let signed = self.entries.iter().find(|entry| entry.seq == epoch);
        signed.map_or(Next::Sign(Place { reign: 0, seq: epoch, before: Id::default() }), |entry| {
            Next::Again(entry.clone())
        })
    }

    fn of_reign(&self, reign: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.reign == reign)
    }

    /// Notes what was signed. To be on the disk before it is sent.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        let extra = self.entries.len().saturating_sub(KEPT);
        self.entries.drain(..extra);
        self.drop_old_pages();
    }

    /// The newest entry keeps its pages whatever they take: they may be nowhere else.
    fn drop_old_pages(&mut self) {
        let mut kept = 0;
        for (age, entry) in self.entries.iter_mut().rev().enumerate() {
            kept += entry.pages.iter().map(String::len).sum::<usize>();
            if age > 0 && kept > KEPT_PAGES {
                entry.pages.clear();
            }
        }
    }

    /// The entries with one of these pages.
    pub fn with_pages(&self, wanted: &BTreeSet<Id>) -> Vec<Entry> {
        let is_wanted = |page: &String| from_hex(page, MAX_PAGE).is_ok_and(|bytes| wanted.contains(&hash(&bytes)));
        self.entries.iter().filter(|entry| entry.pages.iter().any(is_wanted)).cloned().collect()
    }

    /// A node has it.
    pub fn settle(&mut self, id: Id) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.settled = true;
        }
    }

    /// The first node that was ever sent it refused it and so keeps nothing of it: its number is free again. Never for
    /// one that was sent before, because then nobody knows who has it.
    pub fn take_back(&mut self, id: Id) {
        self.entries.retain(|entry| entry.id != id || entry.settled);
    }
}

/// The open entry itself when it is what is asked for; else it goes first.
fn again_or_first(last: &Entry, what: &str, mut before: Vec<Entry>) -> Next {
    if before.is_empty() && !last.settled && last.what == what {
        Next::Again(last.clone())
    } else if !before.is_empty() && !last.settled && last.what == what {
        // The last one is asked for itself, once the node has those before it.
        Next::First(before)
    } else {
        before.push(last.clone());
        Next::First(before)
    }
}

/// All that one key signed, by network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Book {
    networks: BTreeMap<Id, BTreeMap<LogName, Log>>,
}

impl Book {
    /// One log; empty where nothing was signed.
    pub fn log(&self, network: Id, name: LogName) -> Log {
        self.networks.get(&network).and_then(|logs| logs.get(&name)).cloned().unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn log_mut(&mut self, network: Id, name: LogName) -> &mut Log {
        self.networks.entry(network).or_default().entry(name).or_default()
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
