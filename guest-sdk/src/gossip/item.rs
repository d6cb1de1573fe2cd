//! What an item is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names an item: 32 bytes that follow from its content.
///
/// SHA-256 rather than a faster hash: every language that writes plugins has it in its standard library, the host computes
/// it with the processor's own instructions, and items are too small for a tree hash to gain anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ItemId(pub [u8; 32]);

impl ItemId {
    /// The SHA-256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crate::sha256(bytes))
    }
}

impl AsRef<[u8]> for ItemId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(5).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where an item stands in the order that nodes compare their sets in: by stamp, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// What [`super::Items::stamp`] says.
    pub stamp: u64,
    /// The item.
    pub id: ItemId,
}

impl Place {
    /// Before all items.
    pub const FIRST: Self = Self { stamp: 0, id: ItemId([0; 32]) };
    /// Behind all items but one that nobody finds.
    pub const LAST: Self = Self { stamp: u64::MAX, id: ItemId([u8::MAX; 32]) };
}
