//! A real file, cut into messages.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The messages of the flood: a file cut into pieces of one size, read from the start again when it ends.
pub struct Source {
    bytes: Vec<u8>,
    size: usize,
}

impl Source {
    /// Reads the file. What does not fill a message at its end is left out.
    pub fn open(file: &Path, size: usize) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        Self::new(bytes, size).with_context(|| format!("cut {} into messages of {size} bytes", file.display()))
    }

    fn new(mut bytes: Vec<u8>, size: usize) -> Result<Self> {
        if size == 0 || bytes.len() < size {
            bail!("it has {} bytes, less than one message", bytes.len());
        }
        bytes.truncate(bytes.len() - bytes.len() % size);
        Ok(Self { bytes, size })
    }

    /// The bodies of the messages with these numbers, one behind the other. Shorter than asked for where the file ends,
    /// so that it is one slice; never empty for a range that is not.
    pub fn messages(&self, numbers: Range<u64>) -> &[u8] {
        let messages = self.bytes.len() / self.size;
        // The file was read into memory, so a number below that of its messages fits.
        let first = (numbers.start % messages as u64) as usize;
        let wanted = usize::try_from(numbers.end.saturating_sub(numbers.start)).unwrap_or(usize::MAX);
        let count = wanted.min(messages - first);
        &self.bytes[first * self.size..(first + count) * self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_in_a_circle() {
        let source = Source::new(b"aabbccd".to_vec(), 2).expect("it is long enough");
        assert_eq!(source.messages(0..2), b"aabb");
        assert_eq!(source.messages(1..9), b"bbcc");
        assert_eq!(source.messages(3..5), b"aabb");
        assert_eq!(source.messages(4..4), b"");
    }

    #[test]
    fn a_file_shorter_than_a_message_is_refused() {
        assert!(Source::new(b"a".to_vec(), 2).is_err());
        assert!(Source::new(b"a".to_vec(), 0).is_err());
    }
}
