//! What the commands of the ledgers take and answer alike: `submit`, and lists in pages.

use serde::{Deserialize, Serialize};
use weir_sdk::Error;

use crate::store::after_key;
use crate::{Id, Ordered, from_hex, to_hex};

/// Entries of a page unless `limit` says otherwise, and the most that it may say.
pub const PAGE: usize = 1_000;

/// `submit {op}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitArgs {
    /// The bytes of an item, in hexadecimal digits.
    pub op: String,
}

impl SubmitArgs {
    /// The bytes, at most so many.
    pub fn bytes(&self, most: usize) -> Result<Vec<u8>, Error> {
        from_hex(&self.op, most).map_err(|error| Error::new("bad-arguments", format!("`op`: {error}")))
    }
}

/// The answer of `submit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitAnswer {
    /// Its id.
    pub id: Id,
    /// Whether it was here already: submitting the same bytes again is no error.
    pub known: bool,
}

/// A page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paged {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Entries, 1 to 1,000.
    pub limit: Option<usize>,
}

/// A `limit`, checked; [`PAGE`] without one.
pub fn limit(limit: Option<usize>) -> Result<usize, Error> {
    match limit.unwrap_or(PAGE) {
        limit if (1..=PAGE).contains(&limit) => Ok(limit),
        limit => Err(Error::new("bad-arguments", format!("`limit` is {limit}; it must be 1 to {PAGE}"))),
    }
}

/// A cursor is what an earlier answer gave as `next`.
pub fn cursor(after: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |_| Error::new("bad-arguments", "`after` must be the `next` of an earlier answer");
    after.map(|text| from_hex(text, 64).map_err(wrong)).transpose()
}

/// A page of a store's entries.
#[derive(Debug)]
pub struct Entries {
    /// In order.
    pub found: Vec<(Vec<u8>, Vec<u8>)>,
    /// The cursor of the next page; none after the last one. A full page may be the last one and have a `next` all the
    /// same.
    pub next: Option<String>,
}

/// The entries from `start` to `end`, all of one tag, the first byte of their keys; those behind `after`, where it is given.
pub fn entries<S: Ordered>(
    store: &S,
    start: &[u8],
    end: Option<&[u8]>,
    after: Option<&str>,
    limit: usize,
) -> Result<Entries, Error> {
    let (tag, _) = start.split_at(start.len().min(1));
    let start = match cursor(after)? {
        Some(after) => after_key(&[tag, &after].concat()).max(start.to_vec()),
        None => start.to_vec(),
    };
    let found = store.range(&start, end, limit);
    let next = found.last().filter(|_| found.len() == limit).map(|(key, _)| to_hex(&key[tag.len()..]));
    Ok(Entries { found, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn pages_follow_each_other_and_stay_in_their_range() {
        let mut store = Memory::default();
        for key in ["a1", "b1", "b2", "b3", "c1"] {
            store.put(key.as_bytes(), &[]);
        }
        let page = |after: Option<&str>| entries(&store, b"b", Some(b"c"), after, 2).expect("a page");
        let first = page(None);
        assert_eq!((first.found.len(), first.next.as_deref()), (2, Some("32")));
        let second = page(first.next.as_deref());
        assert_eq!((second.found[0].0.as_slice(), second.next), (&b"b3"[..], None));
        let before = entries(&store, b"b2", Some(b"c"), Some("30"), 9).expect("a page");
        assert_eq!(before.found.len(), 2, "a cursor leads nowhere before the range");
        assert!(entries(&store, b"b", None, Some("zz"), 2).is_err());
        assert!(limit(Some(0)).is_err() && limit(Some(PAGE + 1)).is_err());
        assert_eq!(limit(None).expect("the default"), PAGE);
    }
}
