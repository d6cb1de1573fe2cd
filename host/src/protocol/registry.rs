//! The protocols registered here, with their handlers, for the many readers of the hot path.

use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::{Handler, ProtocolId};
use crate::stream::OutboundBudget;

/// One registration.
pub(super) struct Registration {
    pub id: ProtocolId,
    pub number: u64,
    /// Largest body taken, in bytes.
    pub max_message: u32,
    /// What its owner's lanes may queue together. Stays when another handler takes over.
    pub budget: Arc<OutboundBudget>,
    /// Cancelled when it is unregistered: every reader and every open pair of it ends.
    pub closed: CancellationToken,
    served: RwLock<Served>,
}

/// Who serves a registration.
#[derive(Clone)]
pub(super) struct Served {
    owner: Arc<str>,
    pub handler: Arc<dyn Handler>,
    /// Cancelled when another handler serves it.
    pub over: CancellationToken,
}

impl Registration {
    pub(super) fn new(
        id: ProtocolId,
        number: u64,
        max_message: u32,
        budget: Arc<OutboundBudget>,
        owner: &str,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let served = RwLock::new(Served { owner: owner.into(), handler, over: CancellationToken::new() });
        Self { id, number, max_message, budget, closed: CancellationToken::new(), served }
    }

    /// Who serves it now.
    pub(super) fn served(&self) -> Served {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handler that serves it now.
    pub(super) fn handler(&self) -> Arc<dyn Handler> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).handler.clone()
    }

    /// The name of who serves it now.
    pub(super) fn owner(&self) -> String {
        self.served.read().unwrap_or_else(PoisonError::into_inner).owner.to_string()
    }

    /// Puts another handler in its place; the old one, for which everything is over when this returns.
    pub(super) fn replace(&self, owner: &str, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        let served = Served { owner: owner.into(), handler, over: CancellationToken::new() };
        let old = {
            let mut now = self.served.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, served)
        };
        old.over.cancel();
        old.handler
    }
}

/// All registrations, by number and by id. Both maps change together, under the lock of the protocol state.
#[derive(Default)]
pub(super) struct Registry {
    by_number: DashMap<u64, Arc<Registration>>,
    by_id: DashMap<ProtocolId, Arc<Registration>>,
}

impl Registry {
    pub(super) fn insert(&self, registration: Registration) -> Arc<Registration> {
        let registration = Arc::new(registration);
        self.by_number.insert(registration.number, registration.clone());
        self.by_id.insert(registration.id.clone(), registration.clone());
        registration
    }

    pub(super) fn remove(&self, id: &ProtocolId) -> Option<Arc<Registration>> {
        let (_, registration) = self.by_id.remove(id)?;
        self.by_number.remove(&registration.number);
        Some(registration)
    }

    pub(super) fn numbered(&self, number: u64) -> Option<Arc<Registration>> {
        Some(self.by_number.get(&number)?.clone())
    }

    pub(super) fn named(&self, id: &ProtocolId) -> Option<Arc<Registration>> {
        Some(self.by_id.get(id)?.clone())
    }

    /// All, ordered by id.
    pub(super) fn all(&self) -> Vec<Arc<Registration>> {
        let mut all: Vec<_> = self.by_id.iter().map(|entry| entry.value().clone()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}
