//! Which namespaces there are.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::backend::NamespaceRow;
use super::namespace::NamespaceState;

/// The namespaces on the disk and those that were asked for since, by full name.
#[derive(Debug)]
pub(super) struct Registry(RwLock<BTreeMap<Arc<str>, Arc<NamespaceState>>>);

impl Registry {
    pub(super) fn new(rows: &[NamespaceRow]) -> Self {
        let states = rows.iter().map(|row| Arc::new(NamespaceState::new(row.id, &row.name, row.used, true)));
        Self(RwLock::new(states.map(|state| (state.name.clone(), state)).collect()))
    }

    /// Finds a namespace or makes one that is on the disk with its first write.
    pub(super) fn namespace(&self, name: &str) -> Arc<NamespaceState> {
        let mut namespaces = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = namespaces.get(name) {
            return known.clone();
        }
        let id = namespaces.values().map(|known| known.id + 1).max().unwrap_or(0);
        let state = Arc::new(NamespaceState::new(id, name, 0, false));
        namespaces.insert(state.name.clone(), state.clone());
        state
    }

    /// A namespace that was asked for before.
    pub(super) fn known(&self, name: &str) -> Option<Arc<NamespaceState>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Names and sizes of the namespaces that exist, by name.
    pub(super) fn usage(&self) -> Vec<(String, u64)> {
        let known: Vec<_> = self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut all = Vec::new();
        for namespace in known {
            let overlay = namespace.read();
            if overlay.exists() {
                all.push((namespace.name.to_string(), overlay.used()));
            }
        }
        all
    }
}
