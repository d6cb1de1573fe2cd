//! The encoding of what is signed: fixed places, big-endian numbers, nothing left over. One value, one encoding.

use thiserror::Error;

use crate::{Id, Key};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// Something follows the end.
    #[error("something follows its end")]
    Long,
    /// It is larger than its kind may be.
    #[error("it is larger than its kind may be")]
    TooLarge,
    /// No such kind.
    #[error("there is no kind {0}")]
    Kind(u8),
    /// A field that cannot have this value; the text says which.
    #[error("{0}")]
    Field(&'static str),
}

/// Reads from the front. Every length is checked before anything is taken.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the first byte.
    pub fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.all.len() - self.at
    }

    /// How many bytes have been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes from an earlier [`Reader::at`] to here.
    pub fn since(&self, at: usize) -> &'a [u8] {
        &self.all[at.min(self.at)..self.at]
    }

    /// This many bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).ok_or(DecodeError::Short)?;
        let bytes = self.all.get(self.at..end).ok_or(DecodeError::Short)?;
        self.at = end;
        Ok(bytes)
    }

    /// An array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, _) = self.all[self.at..].split_first_chunk().ok_or(DecodeError::Short)?;
        self.at += N;
        Ok(*array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A number.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// An amount that is not zero: nothing in a ledger moves zero.
    pub fn amount(&mut self) -> Result<u128, DecodeError> {
        match self.array().map(u128::from_be_bytes)? {
            0 => Err(DecodeError::Field("the amount is zero")),
            amount => Ok(amount),
        }
    }

    /// A key.
    pub fn key(&mut self) -> Result<Key, DecodeError> {
        self.array().map(Key)
    }

    /// An id.
    pub fn id(&mut self) -> Result<Id, DecodeError> {
        self.array().map(Id)
    }

    /// A count of things of at least `size` bytes each: one that the rest cannot hold is refused before any room is made.
    pub fn count(&mut self, size: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
        if count.checked_mul(size).is_none_or(|bytes| bytes > self.left()) {
            Err(DecodeError::Short)
        } else {
            Ok(count)
        }
    }

    /// Says that this was all.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Long) }
    }
}
