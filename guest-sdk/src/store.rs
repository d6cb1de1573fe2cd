//! `Store`: the plugin's durable keys, typed by postcard, with this turn's own writes on top.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::{Range, WriteError};
use crate::backend::store;
use crate::{Context, Result, decode, encode};

/// The plugin's own durable keys. Reads see what this turn has staged; writes are staged.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    ctx: &'a Context,
}

impl<'a> Store<'a> {
    pub(crate) fn new(ctx: &'a Context) -> Self {
        Self { ctx }
    }

    /// The value under `key`, decoded from postcard.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get_bytes(key).map(|value| decode(&value)).transpose()
    }

    /// The value under `key` as it is.
    pub fn get_bytes(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        store::get(key.as_ref())
    }

    /// Keeps `value` as postcard.
    pub fn put<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result {
        Ok(self.put_bytes(key, &encode(value)?)?)
    }

    /// Keeps these bytes.
    pub fn put_bytes(&self, key: impl AsRef<[u8]>, value: &[u8]) -> Result<(), WriteError> {
        store::put(key.as_ref(), value)?;
        self.ctx.count_one();
        Ok(())
    }

    /// Forgets a key.
    pub fn remove(&self, key: impl AsRef<[u8]>) {
        store::remove(key.as_ref());
        self.ctx.count_one();
    }

    /// Keys that begin with `prefix`, in order.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Scan {
        let start = prefix.as_ref().to_vec();
        let end = after_prefix(&start);
        self.range(start, end)
    }

    /// Keys from `start`, inclusive, to `end`, exclusive, in order.
    pub fn range(&self, start: Vec<u8>, end: Option<Vec<u8>>) -> Scan {
        Scan::new(Range { start, end, reverse: false })
    }

    /// The same backwards, from the last key.
    pub fn range_reverse(&self, start: Vec<u8>, end: Option<Vec<u8>>) -> Scan {
        Scan::new(Range { start, end, reverse: true })
    }

    /// Bytes in use, staged writes included.
    pub fn used(&self) -> u64 {
        store::used()
    }
}

/// The smallest key behind all keys with this prefix; none when there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Keys and values of a range, fetched from the host by the page.
pub struct Scan {
    range: Range,
    page_entries: u32,
    page: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    more: bool,
}

impl Scan {
    /// Large enough that a crossing costs little beside its entries, small enough for any memory budget.
    const PAGE_ENTRIES: u32 = 256;
    const PAGE_BYTES: u32 = 64 * 1024;

    fn new(range: Range) -> Self {
        Self { range, page_entries: Self::PAGE_ENTRIES, page: Vec::new().into_iter(), more: true }
    }

    /// Fetches so many entries at a time, if that is fewer than usual: for whoever looks at the first few only, because what
    /// is fetched is copied out of the host.
    pub fn by(mut self, entries: usize) -> Self {
        self.page_entries = u32::try_from(entries).unwrap_or(u32::MAX).clamp(1, Self::PAGE_ENTRIES);
        self
    }

    fn turn_page(&mut self) {
        let page = store::scan(&self.range, self.page_entries, Self::PAGE_BYTES);
        self.more = page.more && !page.entries.is_empty();
        if let Some((last, _)) = page.entries.last() {
            if self.range.reverse {
                self.range.end = Some(last.clone());
            } else {
                // The smallest key behind `last`.
                self.range.start = [last.as_slice(), &[0]].concat();
            }
        }
        self.page = page.entries.into_iter();
    }
}

impl Iterator for Scan {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(entry);
            }
            if !self.more {
                return None;
            }
            self.turn_page();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255]), None);
    }
}
