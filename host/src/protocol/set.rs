//! A protocol set as it goes over the wire, and the rules that one of a peer must keep. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::ProtocolId;
use crate::wire::ProtocolEntry;

/// A protocol in somebody's set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its owner's registration number.
    pub registration: u64,
    /// Largest body its owner takes, in bytes.
    pub max_message: u32,
}

/// Why a peer's set was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SetError {
    /// Breaks a rule of the wire: the connection is closed.
    #[error("{0}")]
    Violation(String),
    /// The difference is to another base than what was applied: the full set is wanted.
    #[error("the difference is to another set than the applied one")]
    OtherBase,
    /// The peer is not up, or is of another incarnation.
    #[error("from another incarnation than the connected one")]
    Stale,
}

pub(super) fn wire_entry(id: &ProtocolId, entry: Entry) -> ProtocolEntry {
    ProtocolEntry { id: id.to_string(), registration: entry.registration, max_message: entry.max_message }
}

/// A set as a peer sent it, checked: sound ids, each id and each number once, no number from the future.
pub(super) fn checked_set(
    protocols: Vec<ProtocolEntry>,
    sequence: u64,
) -> Result<BTreeMap<ProtocolId, Entry>, SetError> {
    let violation = |text: String| SetError::Violation(text);
    let mut numbers = BTreeSet::new();
    let mut set = BTreeMap::new();
    for ProtocolEntry { id, registration, max_message } in protocols {
        let id: ProtocolId = id.parse().map_err(|wrong| violation(format!("{wrong}")))?;
        if registration == 0 || registration > sequence || !numbers.insert(registration) {
            return Err(violation(format!(
                "registration number {registration} of {id} cannot stand in set {sequence}"
            )));
        }
        if let Some(twice) = set.insert(id.clone(), Entry { registration, max_message }) {
            return Err(violation(format!("{id} stands twice in a set, as {} and {registration}", twice.registration)));
        }
    }
    Ok(set)
}
