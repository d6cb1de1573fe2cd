//! The dead letters of one plugin on the disk: bounded in number and bytes, the oldest go.
//!
//! A letter is committed to the store before the events behind it are handled, and what survives a crash of the node is
//! a prefix of all commits. So after a crash either the letter is there, or it is not and nothing that came after it
//! was handled either: then the event is lost like everything else that the node had received and not handled yet.
//! The body is committed before its letter and removed after it: a letter that is found has its body, and a body
//! without a letter is removed when the letters are read for the first time.
//!
//! Counted is all that a letter takes, its report too: what a plugin says as it fails is the plugin's, or its sender's. The
//! newest letter is kept even where it alone takes more, without its body; a report has bounds of its own.

use bytes::Bytes;
use tokio::sync::Mutex;

use super::letter::{DeadLetter, LetterEvent};
use crate::plugin::Digest;
use crate::plugin::crash::CrashReport;
use crate::plugin::records::{RecordError, Records};
use crate::plugin::store::{Durability, Namespace, ScanRange, Store, WriteBatch};

/// Keys of bodies that one read takes.
const PAGE: usize = 256;

/// What is known of the letters without reading them.
#[derive(Debug, Default)]
struct Index {
    /// Ids and what each takes, the oldest first.
    all: Vec<(u64, u64)>,
    last: u64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::plugin) struct Letters {
    plugin: String,
    records: Records,
    bodies: Namespace,
    index: Mutex<Option<Index>>,
}

/// What they may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugin) struct Room {
    pub(in crate::plugin) letters: usize,
    pub(in crate::plugin) bytes: u64,
}

impl Index {
    fn exceeds(&self, room: Room) -> bool {
        let bytes: u64 = self.all.iter().map(|(_, takes)| takes).sum();
        self.all.len() > room.letters.max(1) || (self.all.len() > 1 && bytes > room.bytes)
    }
}

/// Bytes that a letter takes: as a record, and those of its body.
fn takes(letter: &DeadLetter) -> u64 {
    let record = serde_json::to_vec(letter).map_or(0, |json| json.len() as u64);
    record + if letter.kept { letter.bytes } else { 0 }
}

impl Letters {
    pub(in crate::plugin) fn new(store: &Store, plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            records: Records::new(store, "dead-letters"),
            bodies: store.host_namespace("dead-letter-bodies"),
            index: Mutex::const_new(None),
        }
    }

    fn key(&self, id: u64) -> Vec<u8> {
        [self.plugin.as_bytes(), &[0], &id.to_be_bytes()].concat()
    }

    /// Keeps a letter and makes room for it: the letter as it is kept.
    pub(in crate::plugin) async fn put(
        &self,
        event: LetterEvent,
        body: &[u8],
        report: CrashReport,
        at_unix_ms: u64,
        room: Room,
    ) -> Result<DeadLetter, RecordError> {
        let mut index = self.index.lock().await;
        let index = self.read_index(&mut index).await?;
        index.last += 1;
        let mut letter = DeadLetter {
            id: index.last,
            at_unix_ms,
            event,
            bytes: body.len() as u64,
            sha256: Digest::of(body).hex(),
            kept: true,
            retries: 0,
            report,
        };
        letter.kept = body.is_empty() || takes(&letter) <= room.bytes;
        if letter.kept && !body.is_empty() {
            let mut batch = WriteBatch::default();
            batch.put(self.key(letter.id), body.to_vec());
            self.bodies.commit(batch, Durability::Relaxed).await?;
        }
        self.records.put(&self.plugin, letter.id, &letter).await?;
        index.all.push((letter.id, takes(&letter)));
        while index.exceeds(room) {
            let (oldest, _) = index.all.remove(0);
            self.forget(oldest).await?;
        }
        Ok(letter)
    }

    /// Reads how many there are, and removes what a crash of the node left behind.
    pub(in crate::plugin) async fn open(&self) -> Result<(), RecordError> {
        let mut index = self.index.lock().await;
        self.read_index(&mut index).await.map(drop)
    }

    /// How many there are, once they were opened.
    pub(in crate::plugin) fn count(&self) -> u64 {
        let known = self.index.try_lock().ok();
        known.and_then(|index| index.as_ref().map(|index| index.all.len() as u64)).unwrap_or_default()
    }

    /// All of them, the oldest first.
    pub(in crate::plugin) fn all(&self) -> Result<Vec<DeadLetter>, RecordError> {
        Ok(self.records.of(&self.plugin)?.into_iter().map(|(_, letter)| letter).collect())
    }

    /// One of them and its body.
    pub(in crate::plugin) fn get(&self, id: u64) -> Result<Option<(DeadLetter, Bytes)>, RecordError> {
        let Some(letter) = self.records.get::<DeadLetter>(&self.plugin, id)? else { return Ok(None) };
        let body = self.bodies.get(&self.key(id))?.unwrap_or_default();
        Ok(Some((letter, body.into())))
    }

    /// Notes that one was tried again in vain, and why.
    pub(in crate::plugin) async fn retried(
        &self,
        mut letter: DeadLetter,
        report: CrashReport,
    ) -> Result<(), RecordError> {
        let mut index = self.index.lock().await;
        let index = self.read_index(&mut index).await?;
        letter.retries += 1;
        letter.report = report;
        // Somebody may have dropped it meanwhile.
        if let Some((_, known)) = index.all.iter_mut().find(|(id, _)| *id == letter.id) {
            self.records.put(&self.plugin, letter.id, &letter).await?;
            *known = takes(&letter);
        }
        Ok(())
    }

    /// Removes one; what it was, if it was there.
    pub(in crate::plugin) async fn remove(&self, id: u64) -> Result<Option<DeadLetter>, RecordError> {
        let mut index = self.index.lock().await;
        let index = self.read_index(&mut index).await?;
        let letter = self.records.get(&self.plugin, id)?;
        if letter.is_some() {
            self.forget(id).await?;
            index.all.retain(|(of, _)| *of != id);
        }
        Ok(letter)
    }

    async fn forget(&self, id: u64) -> Result<(), RecordError> {
        self.records.remove(&self.plugin, id).await?;
        let mut batch = WriteBatch::default();
        batch.remove(self.key(id));
        self.bodies.commit(batch, Durability::Relaxed).await?;
        Ok(())
    }

    /// Reads the index the first time, and removes bodies whose letter was never written.
    async fn read_index<'a>(&self, index: &'a mut Option<Index>) -> Result<&'a mut Index, RecordError> {
        if index.is_none() {
            let letters = self.all()?;
            let last = letters.last().map_or(0, |letter| letter.id);
            let all: Vec<_> = letters.iter().map(|letter| (letter.id, takes(letter))).collect();
            self.sweep(&all).await?;
            *index = Some(Index { all, last });
        }
        Ok(index.get_or_insert_default())
    }

    async fn sweep(&self, known: &[(u64, u64)]) -> Result<(), RecordError> {
        let (mut start, end) = (self.key(0), [self.plugin.as_bytes(), &[1]].concat());
        let mut batch = WriteBatch::default();
        loop {
            let page = self.bodies.scan(ScanRange { start: &start, end: Some(&end), reverse: false }, PAGE, 1 << 20)?;
            for (key, _) in &page.entries {
                let id = key.last_chunk::<8>().map(|id| u64::from_be_bytes(*id));
                if id.is_none_or(|id| known.binary_search_by_key(&id, |(of, _)| *of).is_err()) {
                    batch.remove(key.clone());
                }
                start = [key.as_slice(), &[0]].concat();
            }
            if !page.more {
                break;
            }
        }
        if !batch.is_empty() {
            self.bodies.commit(batch, Durability::Relaxed).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::crash::{CallFailure, CrashKind};
    use crate::plugin::manifest::Manifest;
    use crate::plugin::store::MemoryDisk;

    fn report() -> CrashReport {
        let manifest = Manifest::for_tests("a");
        CrashReport::new(&manifest, 1, "timer", None, None, CallFailure::new(CrashKind::Trap, "it trapped"))
    }

    async fn put(letters: &Letters, body: &[u8], room: Room) -> DeadLetter {
        letters.put(LetterEvent::Timer { timer: 7 }, body, report(), 5, room).await.expect("kept")
    }

    const ROOM: Room = Room { letters: 3, bytes: 10_000 };

    fn ids(letters: &Letters) -> Vec<u64> {
        letters.all().expect("read").iter().map(|letter| letter.id).collect()
    }

    #[tokio::test]
    async fn letters_survive_a_restart_with_their_bodies() {
        let disk = MemoryDisk::default();
        let store = Store::in_memory(&disk);
        let letters = Letters::new(&store, "a");
        let kept = put(&letters, b"abc", ROOM).await;
        assert_eq!((kept.id, kept.bytes, kept.kept), (1, 3, true));
        put(&Letters::new(&store, "ab"), b"of another", ROOM).await;
        store.close().await.expect("closed");
        let store = Store::in_memory(&disk);
        let letters = Letters::new(&store, "a");
        assert_eq!(letters.get(1).expect("read"), Some((kept, Bytes::from_static(b"abc"))));
        assert_eq!(put(&letters, b"", ROOM).await.id, 2, "ids go on");
        assert!(letters.remove(1).await.expect("removed").is_some());
        assert_eq!(letters.remove(1).await.expect("nothing to remove"), None);
        assert_eq!(letters.all().expect("read").len(), 1);
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let store = Store::in_memory(&MemoryDisk::default());
        let letters = Letters::new(&store, "a");
        for _ in 0..5 {
            put(&letters, &[0; 2_000], ROOM).await;
        }
        assert_eq!(ids(&letters), [3, 4, 5]);
        put(&letters, &[0; 6_000], ROOM).await;
        assert_eq!(ids(&letters), [5, 6]);
        let large = put(&letters, &[0; 10_000], ROOM).await;
        assert!(!large.kept, "with its report it takes more");
        assert_eq!((ids(&letters), letters.count()), (vec![5, 6, 7], 3));
        let bodies = store.host_namespace("dead-letter-bodies");
        let all = bodies.scan(ScanRange { start: &[], end: None, reverse: false }, 99, 1 << 20).expect("read");
        assert_eq!(all.entries.len(), 2, "bodies go with their letters");
    }

    #[tokio::test]
    async fn what_a_report_takes_counts() {
        let store = Store::in_memory(&MemoryDisk::default());
        let room = Room { letters: 256, bytes: 20_000 };
        let long = || {
            let mut report = report();
            report.failure.backtrace = vec!["x".repeat(256); 16];
            report
        };
        let event = || LetterEvent::Timer { timer: 7 };
        let letters = Letters::new(&store, "a");
        for _ in 0..9 {
            letters.put(event(), b"", long(), 5, room).await.expect("kept");
        }
        assert_eq!(ids(&letters), [6, 7, 8, 9]);
        let letters = Letters::new(&store, "a");
        put(&letters, b"", room).await;
        assert_eq!(ids(&letters), [6, 7, 8, 9, 10], "as before when they are read again");
        let (short, _) = letters.get(10).expect("read").expect("it is there");
        letters.retried(short, long()).await.expect("noted");
        put(&letters, b"", room).await;
        assert_eq!(ids(&letters), [7, 8, 9, 10, 11], "a report that became longer");
        let none = Room { bytes: 0, ..room };
        assert!(!put(&letters, b"abc", none).await.kept && put(&letters, b"", none).await.kept);
        assert_eq!(ids(&letters), [13], "the newest stays, whatever it takes");
    }

    #[tokio::test]
    async fn a_body_without_a_letter_is_removed() {
        let store = Store::in_memory(&MemoryDisk::default());
        let letters = Letters::new(&store, "a");
        let mut batch = WriteBatch::default();
        batch.put(letters.key(9), b"never".to_vec());
        letters.bodies.commit(batch, Durability::Relaxed).await.expect("committed");
        put(&letters, b"abc", ROOM).await;
        assert_eq!(letters.bodies.get(&letters.key(9)).expect("read"), None);
        assert_eq!(letters.bodies.get(&letters.key(1)).expect("read"), Some(b"abc".to_vec()));
    }
}
