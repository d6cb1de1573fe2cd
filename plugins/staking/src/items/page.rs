//! `Page`: a part of what an epoch names, at most 256 KiB. Its hash stands in the epoch's signed header.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use weir_ledger::codec::{DecodeError, Reader};
use weir_ledger::{Id, Key, hash};

use super::kind;
use super::proof::Proof;

/// Bytes of a page.
pub const MAX_PAGE: usize = 256 * 1024;

const INCLUDE: usize = 32 + 8 + 32;
const ANCHOR: usize = TOPIC + 32;
const TOPIC: usize = 16;
const HEAD: usize = 1 + 3 * 4;

/// The last operation of an account that the epoch includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// Whose.
    pub account: Key,
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: Id,
}

/// Whose item an anchor names: 1 to 16 characters out of a to z, 0 to 9 and `-`. A protocol must know its own anchors from
/// others', because it waits for those it lacks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic([u8; TOPIC]);

impl Topic {
    /// From its text.
    pub fn new(text: &str) -> Option<Self> {
        let mut topic = [0; TOPIC];
        topic.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Self::checked(topic)
    }

    fn checked(topic: [u8; TOPIC]) -> Option<Self> {
        let len = topic.iter().position(|byte| *byte == 0).unwrap_or(TOPIC);
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        (len > 0 && topic[..len].iter().all(plain) && topic[len..].iter().all(|byte| *byte == 0)).then_some(Self(topic))
    }

    /// Its bytes, filled up with zeros.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take_while(|byte| **byte != 0).try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text)
            .ok_or_else(|| de::Error::custom("a topic has 1 to 16 characters out of a to z, 0 to 9 and `-`"))
    }
}

/// An item of another protocol that this epoch orders too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Whose.
    pub topic: Topic,
    /// Which.
    pub id: Id,
}

/// A page: what it includes, which proofs it applies and what it anchors, each strictly ascending.
///
/// `3 ‖ count 4 ‖ (account 32 ‖ number 8 ‖ id 32)… ‖ count 4 ‖ proofs… ‖ count 4 ‖ (topic 16 ‖ id 32)…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// By account.
    pub includes: Vec<Include>,
    /// By account; each carries both operations, so a page needs nothing else to be applied.
    pub proofs: Vec<Proof>,
    /// By topic and id.
    pub anchors: Vec<Anchor>,
    bytes: Vec<u8>,
    id: Id,
}

impl Page {
    /// Reads the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_PAGE {
            return Err(DecodeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            kind::PAGE => {}
            other => return Err(DecodeError::Kind(other)),
        }
        let count = reader.count(INCLUDE)?;
        let include =
            |reader: &mut Reader<'_>| Ok(Include { account: reader.key()?, seq: reader.u64()?, id: reader.id()? });
        let includes: Vec<_> = (0..count).map(|_| include(&mut reader)).collect::<Result<_, _>>()?;
        let count = reader.count(Proof::MIN)?;
        let proofs: Vec<_> = (0..count).map(|_| Proof::read(&mut reader)).collect::<Result<_, _>>()?;
        let count = reader.count(ANCHOR)?;
        let anchors: Vec<_> = (0..count).map(|_| anchor(&mut reader)).collect::<Result<_, _>>()?;
        reader.end()?;
        let ascending = includes.is_sorted_by(|one, next| one.account < next.account)
            && proofs.is_sorted_by(|one, next| one.account() < next.account())
            && anchors.is_sorted_by(|one, next| one < next);
        if !ascending {
            return Err(DecodeError::Field("a page's entries must ascend"));
        }
        if includes.iter().any(|include| include.seq == u64::MAX) {
            return Err(DecodeError::Field("the number is too large"));
        }
        Ok(Self { includes, proofs, anchors, bytes: bytes.to_vec(), id: hash(bytes) })
    }

    /// Whether the first byte says that it is one.
    pub fn looks_like_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&kind::PAGE)
    }

    /// From its parts, which ascend; none when they do not fit or do not ascend.
    pub fn new(includes: &[Include], proofs: &[Proof], anchors: &[Anchor]) -> Option<Self> {
        let mut bytes = vec![kind::PAGE];
        bytes.extend((includes.len() as u32).to_be_bytes());
        for include in includes {
            bytes.extend(include.account.0);
            bytes.extend(include.seq.to_be_bytes());
            bytes.extend(include.id.0);
        }
        bytes.extend((proofs.len() as u32).to_be_bytes());
        proofs.iter().for_each(|proof| proof.write(&mut bytes));
        bytes.extend((anchors.len() as u32).to_be_bytes());
        for anchor in anchors {
            bytes.extend(anchor.topic.0);
            bytes.extend(anchor.id.0);
        }
        Self::decode(&bytes).ok()
    }

    /// The SHA-256 of its bytes.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The bytes of the item.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn anchor(reader: &mut Reader<'_>) -> Result<Anchor, DecodeError> {
    let topic = Topic::checked(reader.array()?).ok_or(DecodeError::Field("an anchor's topic is not readable"))?;
    Ok(Anchor { topic, id: reader.id()? })
}

/// Fills pages one after the other.
#[derive(Debug)]
pub struct PageBuilder {
    limit: usize,
    done: Vec<Page>,
    room: usize,
    includes: Vec<Include>,
    proofs: Vec<Proof>,
    anchors: Vec<Anchor>,
}

impl PageBuilder {
    /// For at most this many pages.
    pub fn new(limit: usize) -> Self {
        let room = MAX_PAGE - HEAD;
        Self { limit, done: Vec::new(), room, includes: Vec::new(), proofs: Vec::new(), anchors: Vec::new() }
    }

    /// Adds one; false when it fits no more.
    pub fn include(&mut self, include: Include) -> bool {
        self.make_room(INCLUDE) && {
            self.includes.push(include);
            true
        }
    }

    /// Adds one; false when it fits no more.
    pub fn prove(&mut self, proof: Proof) -> bool {
        self.make_room(Proof::MAX) && {
            self.proofs.push(proof);
            true
        }
    }

    /// Adds one; false when it fits no more.
    pub fn anchor(&mut self, anchor: Anchor) -> bool {
        self.make_room(ANCHOR) && {
            self.anchors.push(anchor);
            true
        }
    }

    fn make_room(&mut self, bytes: usize) -> bool {
        if self.room < bytes {
            if self.done.len() + 1 >= self.limit {
                return false;
            }
            self.turn_page();
        }
        self.room -= bytes;
        true
    }

    fn turn_page(&mut self) {
        let (includes, proofs, anchors) =
            (std::mem::take(&mut self.includes), std::mem::take(&mut self.proofs), std::mem::take(&mut self.anchors));
        if !(includes.is_empty() && proofs.is_empty() && anchors.is_empty()) {
            self.done.extend(Page::new(&includes, &proofs, &anchors));
        }
        self.room = MAX_PAGE - HEAD;
    }

    /// The pages; none for an epoch without news.
    pub fn finish(mut self) -> Vec<Page> {
        self.turn_page();
        self.done
    }
}
