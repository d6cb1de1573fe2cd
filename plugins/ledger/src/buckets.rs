//! `Buckets`: a hash over all entries of one kind that follows changes by rehashing only what is near them.
//!
//! Entries are keyed by [`Key`] and fall into 4,096 buckets by their first twelve bits, so a bucket is one range of the
//! store. The hash of a bucket covers its entries in order; 64 hashes of buckets make the hash of a group, 64 groups make the
//! whole. One change among a million entries costs the reading of about 244 of them; a change of everything costs one pass.
//! Who may add keys at will could crowd a bucket; accounts exist by the issuer's leave only.

use crate::store::after_prefix;
use crate::{Hash, Id, Key, Ordered};

/// How many buckets there are.
pub const BUCKETS: u16 = 4_096;
/// Buckets of one group, and how many groups there are.
pub const GROUP: u16 = 64;

/// The hashes of all buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    label: &'static str,
    hashes: Vec<Id>,
}

/// In which bucket a key is.
pub fn bucket_of(key: Key) -> u16 {
    u16::from_be_bytes([key.0[0], key.0[1]]) >> 4
}

impl Buckets {
    /// All empty. An empty bucket's hash is zero.
    pub fn new(label: &'static str) -> Self {
        Self { label, hashes: vec![Id::default(); usize::from(BUCKETS)] }
    }

    /// As they were kept under this prefix, each under its number.
    pub fn load<S: Ordered>(label: &'static str, prefix: &[u8], store: &S) -> Self {
        let mut buckets = Self::new(label);
        for (key, hash) in store.prefix(prefix, usize::MAX) {
            if let (Some(bucket), Ok(hash)) = (key.last_chunk(), hash.try_into()) {
                buckets.set(u16::from_be_bytes(*bucket), Id(hash));
            }
        }
        buckets
    }

    /// Hashes a bucket anew: its entries are those under this prefix whose keys go on with the bucket's range.
    pub fn rehash<S: Ordered>(&mut self, bucket: u16, prefix: &[u8], store: &S) -> Id {
        let (start, end) = Self::range(bucket);
        let key = |from: [u8; 2]| [prefix, &from].concat();
        let end = end.map(key).or_else(|| after_prefix(prefix));
        let entries = store.range(&key(start), end.as_deref(), usize::MAX);
        let hash = self.digest(entries.iter().map(|(key, value)| (&key[prefix.len()..], value.as_slice())));
        self.set(bucket, hash);
        hash
    }

    /// The key's first byte pair from which the bucket's range begins, and that from which the next bucket's does, if any.
    pub fn range(bucket: u16) -> ([u8; 2], Option<[u8; 2]>) {
        let next = (bucket + 1 < BUCKETS).then(|| ((bucket + 1) << 4).to_be_bytes());
        ((bucket << 4).to_be_bytes(), next)
    }

    /// The hash of one bucket.
    pub fn hash_of(&self, bucket: u16) -> Id {
        self.hashes[usize::from(bucket % BUCKETS)]
    }

    /// Sets a hash that was kept.
    pub fn set(&mut self, bucket: u16, hash: Id) {
        self.hashes[usize::from(bucket % BUCKETS)] = hash;
    }

    /// Hashes a bucket's entries, which come in order of their keys.
    fn digest<'a>(&self, entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Id {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_none() {
            return Id::default();
        }
        let mut hash = Hash::new(self.label);
        for (key, value) in entries {
            hash.add(key);
            hash.add(&(value.len() as u64).to_be_bytes());
            hash.add(value);
        }
        hash.id()
    }

    /// The hash of everything.
    pub fn root(&self) -> Id {
        let mut root = Hash::new(self.label);
        self.groups().for_each(|group| root.add(&group.0));
        root.id()
    }

    /// The hashes of the groups. Who compares them with another node's knows in which groups the two differ.
    pub fn groups(&self) -> impl Iterator<Item = Id> {
        self.hashes.chunks(usize::from(GROUP)).map(|group| {
            let mut hash = Hash::new(self.label);
            group.iter().for_each(|bucket| hash.add(&bucket.0));
            hash.id()
        })
    }

    /// The buckets of a group with their hashes; the first group where there is none of this number.
    pub fn of_group(&self, group: u16) -> impl Iterator<Item = (u16, Id)> {
        let first = group % GROUP * GROUP;
        (first..first + GROUP).map(|bucket| (bucket, self.hash_of(bucket)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_range_of_its_bucket() {
        for first in 0..=u16::MAX {
            let mut key = [0xab; 32];
            key[..2].copy_from_slice(&first.to_be_bytes());
            let (start, end) = Buckets::range(bucket_of(Key(key)));
            assert!(key[..2] >= start[..] && end.is_none_or(|end| key[..2] < end[..]));
        }
    }

    #[test]
    fn a_bucket_covers_its_own_entries_and_is_kept() {
        let mut store = crate::Memory::default();
        let mut key = |first: u16, value: u8| {
            store.put(&[b"a".as_slice(), &first.to_be_bytes(), &[0; 30]].concat(), &[value]);
            let mut buckets = Buckets::new("test");
            [0, 1, BUCKETS - 1].map(|bucket| buckets.rehash(bucket, b"a", &store))
        };
        let none = Id::default();
        let first = key(0x000f, 1);
        assert!(first[0] != none && first[1..] == [none, none]);
        let second = key(0x0010, 1);
        assert!(second[0] == first[0] && second[1] != none);
        let third = key(0xffff, 1);
        assert!(third[..2] == second[..2] && third[2] != none);
        store.put(&[b"b".as_slice(), &7_u16.to_be_bytes()].concat(), &third[2].0);
        assert_eq!(Buckets::load("test", b"b", &store).hash_of(7), third[2]);
    }

    #[test]
    fn the_root_follows_every_bucket() {
        let mut buckets = Buckets::new("test");
        let empty = buckets.root();
        let digest = buckets.digest([(&b"k"[..], &b"v"[..])]);
        assert_ne!(digest, buckets.digest([(&b"k"[..], &b"w"[..])]));
        let groups: Vec<_> = buckets.groups().collect();
        buckets.set(BUCKETS - 1, digest);
        assert_ne!(buckets.root(), empty);
        let differ: Vec<_> = (0..).zip(buckets.groups()).filter(|(group, hash)| groups[*group] != *hash).collect();
        assert!(differ.len() == 1 && differ[0].0 == usize::from(GROUP - 1));
        assert_eq!(buckets.of_group(GROUP - 1).last(), Some((BUCKETS - 1, digest)));
        buckets.set(BUCKETS - 1, buckets.digest([]));
        assert_eq!(buckets.root(), empty);
    }
}
