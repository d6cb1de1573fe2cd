//! Reading keys in order, and laying pending writes over what lies below.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::error::StoreError;

/// Takes entries in order and says whether it wants more.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Which keys to read and in which direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanRange<'k> {
    /// The least key, inclusive.
    pub start: &'k [u8],
    /// The key to stop before; `None` reads to the last one.
    pub end: Option<&'k [u8]>,
    /// From the greatest key down.
    pub reverse: bool,
}

impl<'k> ScanRange<'k> {
    /// Whether no key can be in it. Ordered maps panic on a range that ends before it starts.
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end <= self.start)
    }

    /// The part of an ordered map that is in the range, in the range's direction.
    pub(super) fn of<'m, T>(&self, map: &'m BTreeMap<Bytes, T>) -> Box<dyn Iterator<Item = (&'m [u8], &'m T)> + 'm> {
        if self.is_empty() {
            return Box::new(std::iter::empty());
        }
        let end = self.end.map_or(Bound::Unbounded, Bound::Excluded);
        let range = map.range::<[u8], _>((Bound::Included(self.start), end)).map(|(key, value)| (key.as_ref(), value));
        if self.reverse { Box::new(range.rev()) } else { Box::new(range) }
    }
}

/// A part of what a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values in the order of the scan.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// There is at least one entry more: go on after the last key.
    pub more: bool,
}

/// Fills a page up to its limits, but with at least one entry if there is one.
pub(super) struct PageFiller {
    page: Page,
    limit: usize,
    bytes: usize,
    max_bytes: usize,
}

impl PageFiller {
    pub(super) fn new(limit: usize, max_bytes: usize) -> Self {
        Self { page: Page::default(), limit: limit.max(1), bytes: 0, max_bytes }
    }

    /// Takes the next entry; breaks when the page is full.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        // Counted in full, also what the first entry is above the limit: after it even an empty one does not fit.
        self.bytes = self.bytes.saturating_add(key.len() + value.len());
        let full = self.page.entries.len() >= self.limit || self.bytes > self.max_bytes;
        if full && !self.page.entries.is_empty() {
            self.page.more = true;
            return ControlFlow::Break(());
        }
        self.page.entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }
}

/// Visits what `below` has with `top` laid over it: a value in `top` replaces, `None` hides.
///
/// Both must come in the same direction, `top` without duplicates.
pub(super) fn merge<'t>(
    top: impl Iterator<Item = (&'t [u8], Option<&'t [u8]>)>,
    reverse: bool,
    below: impl FnOnce(&mut Visit<'_>) -> Result<ControlFlow<()>, StoreError>,
    out: &mut Visit<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let before = if reverse { Ordering::Greater } else { Ordering::Less };
    let mut top = top.peekable();
    let flow = below(&mut |key, value| {
        while let Some((earlier, write)) = top.next_if(|(top, _)| (*top).cmp(key) == before) {
            if let Some(written) = write {
                out(earlier, written)?;
            }
        }
        match top.next_if(|(top, _)| *top == key) {
            Some((_, Some(written))) => out(key, written),
            Some((_, None)) => ControlFlow::Continue(()),
            None => out(key, value),
        }
    })?;
    if flow.is_break() {
        return Ok(flow);
    }
    Ok(top.try_for_each(|(key, write)| write.map_or(ControlFlow::Continue(()), |written| out(key, written))))
}
