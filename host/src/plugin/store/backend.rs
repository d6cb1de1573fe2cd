//! What the store needs of the medium below it.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::BackendError;
use super::group::Group;
use super::scan::{ScanRange, Visit};

/// What is known of a namespace on the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamespaceRow {
    /// The full name, with the prefix that tells plugins' from the host's.
    pub(super) name: String,
    /// The number its keys begin with.
    pub(super) id: u32,
    /// Bytes of keys and values.
    pub(super) used: u64,
}

/// A medium that writes groups, each wholly or not at all.
pub(super) trait Backend: Send {
    /// Writes a group. When this returns, the group survives a crash.
    fn commit(&mut self, group: &Group) -> Result<(), BackendError>;
    /// What is on the medium now.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, BackendError>;
    /// All namespaces on the medium.
    fn namespaces(&self) -> Result<Vec<NamespaceRow>, BackendError>;
}

/// What was on the medium at one moment.
///
/// It may also follow the medium: whatever is newer in it is still in the overlay, which hides it.
pub(super) trait Snapshot: Send + Sync {
    /// The value of a key.
    fn get(&self, namespace: u32, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;
    /// The length of a key's value.
    fn value_len(&self, namespace: u32, key: &[u8]) -> Result<Option<usize>, BackendError>;
    /// Shows the entries of a range that is not empty, in its direction.
    fn visit(&self, namespace: u32, range: ScanRange<'_>, out: &mut Visit<'_>)
    -> Result<ControlFlow<()>, BackendError>;
    /// One namespace as it is now, for good; nothing when this snapshot never changes itself.
    fn frozen(&self, _namespace: u32) -> Result<Option<Arc<dyn Snapshot>>, BackendError> {
        Ok(None)
    }
}

/// What is left to read when the store is closed.
pub(super) struct ClosedDisk;

impl ClosedDisk {
    fn error<T>() -> Result<T, BackendError> {
        Err(BackendError::new("it is closed"))
    }
}

impl Snapshot for ClosedDisk {
    fn get(&self, _: u32, _: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Self::error()
    }

    fn value_len(&self, _: u32, _: &[u8]) -> Result<Option<usize>, BackendError> {
        Self::error()
    }

    fn visit(&self, _: u32, _: ScanRange<'_>, _: &mut Visit<'_>) -> Result<ControlFlow<()>, BackendError> {
        Self::error()
    }
}
