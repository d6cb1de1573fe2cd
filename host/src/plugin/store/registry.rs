//! Which namespaces there are, and who holds which contents.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::backend::NamespaceRow;
use super::namespace::NamespaceState;

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<Arc<str>, Arc<NamespaceState>>,
    /// By the number of the contents they have now.
    by_id: BTreeMap<u32, Arc<NamespaceState>>,
}

impl Known {
    fn insert(&mut self, id: u32, state: Arc<NamespaceState>) {
        self.by_id.insert(id, state.clone());
        self.by_name.insert(state.name.clone(), state);
    }
}

/// The namespaces on the disk and those that were asked for since.
#[derive(Debug)]
pub(super) struct Registry(RwLock<Known>);

impl Registry {
    pub(super) fn new(rows: &[NamespaceRow]) -> Self {
        let mut known = Known::default();
        for row in rows {
            known.insert(row.id, Arc::new(NamespaceState::new(row.id, &row.name, row.used, true)));
        }
        Self(RwLock::new(known))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a namespace or makes one that is on the disk with its first write.
    pub(super) fn namespace(&self, name: &str) -> Arc<NamespaceState> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = known.by_name.get(name) {
            return state.clone();
        }
        let id = known.by_id.last_key_value().map_or(0, |(last, _)| last + 1);
        let state = Arc::new(NamespaceState::new(id, name, 0, false));
        known.insert(id, state.clone());
        state
    }

    /// Who holds these contents.
    pub(super) fn holder(&self, id: u32) -> Option<Arc<NamespaceState>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Two namespaces have each other's contents now. Called while both are locked.
    pub(super) fn traded(&self, now: [(u32, &Arc<NamespaceState>); 2]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (id, state) in now {
            known.by_id.insert(id, state.clone());
        }
    }

    /// Names and sizes of the namespaces that exist, by name.
    pub(super) fn usage(&self) -> Vec<(String, u64)> {
        let states: Vec<_> = self.read().by_name.values().cloned().collect();
        let mut all = Vec::new();
        for namespace in states {
            let overlay = namespace.read();
            if overlay.exists() {
                all.push((namespace.name.to_string(), overlay.used()));
            }
        }
        all
    }
}
