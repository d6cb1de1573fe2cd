//! Registrations of this node: a protocol gets a handler, another one, or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use super::manager::{Inner, lock};
use super::registry::Registration;
use super::{AskError, Handler, News, ProtocolId, ProtocolSpec, RegisterError};
use crate::stream::BudgetLimits;

impl Inner {
    pub(super) fn register(
        self: &Arc<Self>,
        spec: ProtocolSpec,
        owner: &str,
        handler: Arc<dyn Handler>,
    ) -> Result<(), RegisterError> {
        let limit = self.policy.max_message;
        if spec.max_message > limit {
            return Err(RegisterError::TooLarge { id: spec.id, asked: spec.max_message, limit });
        }
        let mut core = lock(&self.core);
        // Under the lock: whoever closes unregisters all that were before it.
        if self.closed.load(Ordering::Acquire) {
            return Err(RegisterError::Closed);
        }
        let limit_of_owners = self.policy.max_owners;
        if core.other_owners(owner) >= limit_of_owners {
            return Err(RegisterError::TooManyOwners { limit: limit_of_owners });
        }
        let owner_of = |id: &ProtocolId| self.registry.named(id).map(|taken| taken.owner()).unwrap_or_default();
        let (number, actions) = core.state.register(&spec.id, spec.max_message, owner_of)?;
        info!(protocol = %spec.id, owner, number, "protocol registered");
        let budget = core.budget(owner, BudgetLimits::for_messages(limit));
        self.registry.insert(Registration::new(spec.id, number, spec.max_message, budget, owner, handler));
        self.apply(&mut core, actions, AskError::Unsupported);
        Ok(())
    }

    pub(super) fn replace(&self, id: &ProtocolId, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let _core = lock(&self.core);
        let registration = self.registry.named(id).ok_or(RegisterError::Closed)?;
        // A handler that follows itself has heard everything and goes on.
        let same = Arc::ptr_eq(&registration.handler(), &handler);
        for (peer, pair) in self.pairs.of_protocol(id).into_iter().filter(|_| !same) {
            let max_message = pair.max_message;
            handler.news(News::Supported { peer, protocol: id.clone(), max_message });
        }
        let old = registration.replace(owner, handler);
        if !same {
            old.taken_over(id);
        }
        info!(protocol = %id, owner, number = registration.number, "protocol handed to another handler");
        Ok(())
    }

    pub(super) fn unregister(self: &Arc<Self>, id: &ProtocolId) {
        let mut core = lock(&self.core);
        let Some(registration) = self.registry.remove(id) else { return };
        registration.closed.cancel();
        info!(protocol = %id, number = registration.number, "protocol unregistered");
        let actions = core.state.unregister(id);
        self.apply(&mut core, actions, AskError::Closed);
    }
}
