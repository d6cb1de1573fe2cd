//! Whole namespaces, page by page.

use super::Durability;
use super::batch::WriteBatch;
use super::error::StoreError;
use super::namespace::Namespace;
use super::scan::ScanRange;

/// Entries and bytes that are read and written at a time.
const PAGE: (usize, usize) = (256, 1 << 20);

impl Namespace {
    /// Makes `target` hold what this namespace holds, and nothing else. Bytes of keys and values that were copied.
    ///
    /// Nobody else may write either of them meanwhile. Not cancel safe: a cancelled call leaves a part in `target`. It
    /// is on the disk before anything that is committed later.
    ///
    /// # Errors
    /// As [`Namespace::commit`]; `target` holds a part then.
    pub async fn copy_to(&self, target: &Self) -> Result<u64, StoreError> {
        target.purge(Durability::Relaxed).await?;
        let (mut start, mut copied) = (Vec::new(), 0);
        loop {
            let page = self.scan(ScanRange { start: &start, end: None, reverse: false }, PAGE.0, PAGE.1)?;
            let mut batch = WriteBatch::default();
            for (key, value) in page.entries {
                copied += (key.len() + value.len()) as u64;
                start = [key.as_slice(), &[0]].concat();
                batch.put(key, value);
            }
            if !batch.is_empty() {
                target.commit(batch, Durability::Relaxed).await?;
            }
            if !page.more {
                return Ok(copied);
            }
        }
    }

    /// Makes this namespace hold what `source` holds, and nothing else. As [`Namespace::copy_to`] the other way round.
    ///
    /// # Errors
    /// As [`Namespace::copy_to`]; this namespace holds a part then.
    pub async fn replace_with(&self, source: &Self) -> Result<u64, StoreError> {
        source.copy_to(self).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryDisk, Store};
    use super::*;

    #[tokio::test]
    async fn a_copy_holds_the_same_and_nothing_else() {
        let store = Store::in_memory(&MemoryDisk::default());
        let (from, to) = (store.namespace("a"), store.namespace("b"));
        let mut batch = WriteBatch::default();
        for number in 0_u32..1_000 {
            batch.put(number.to_be_bytes().to_vec(), vec![7; 2_000]);
        }
        from.commit(batch, Durability::Strict).await.expect("written");
        let mut other = WriteBatch::default();
        other.put(b"foreign".to_vec(), b"x".to_vec());
        to.commit(other, Durability::Strict).await.expect("written");
        assert_eq!(from.copy_to(&to).await.expect("copied"), 1_000 * 2_004);
        assert_eq!((to.used(), to.get(b"foreign").expect("read")), (1_000 * 2_004, None));
        from.purge(Durability::Strict).await.expect("purged");
        assert_eq!(from.replace_with(&to).await.expect("copied"), 1_000 * 2_004);
        assert_eq!(from.get(&999_u32.to_be_bytes()).expect("read"), Some(vec![7; 2_000]));
    }
}
