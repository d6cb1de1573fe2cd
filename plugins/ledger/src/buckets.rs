//! `Buckets`: a hash over all entries of one kind that follows changes by rehashing only what is near them.
//!
//! Entries are keyed by [`Key`] and fall into 4,096 buckets by their first twelve bits, so a bucket is one range of the
//! store. The hash of a bucket covers its entries in order; 64 hashes of buckets make the hash of a group, 64 groups make the
//! whole. One change among a million entries costs the reading of about 244 of them; a change of everything costs one pass.
//! Who may add keys at will could crowd a bucket; accounts exist by the issuer's leave only.

use crate::{Hash, Id, Key};

/// How many buckets there are.
pub const BUCKETS: u16 = 4_096;
const GROUP: usize = 64;

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
    pub fn digest<'a>(&self, entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Id {
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
        for group in self.hashes.chunks(GROUP) {
            let mut hash = Hash::new(self.label);
            group.iter().for_each(|bucket| hash.add(&bucket.0));
            root.add(&hash.id().0);
        }
        root.id()
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
    fn the_root_follows_every_bucket() {
        let mut buckets = Buckets::new("test");
        let empty = buckets.root();
        let digest = buckets.digest([(&b"k"[..], &b"v"[..])]);
        assert_ne!(digest, buckets.digest([(&b"k"[..], &b"w"[..])]));
        buckets.set(BUCKETS - 1, digest);
        assert_ne!(buckets.root(), empty);
        buckets.set(BUCKETS - 1, buckets.digest([]));
        assert_eq!(buckets.root(), empty);
    }
}
