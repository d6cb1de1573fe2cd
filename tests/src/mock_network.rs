//! A network without a network: peers are put there by the test, and what leaves is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use weir_host::peer::PeerId;
use weir_host::protocol::{
    AskError, AskId, Handler, InBatch, Inbound, LaneStatus, Network, News, Outgoing, ProtocolId, ProtocolSpec,
    Reachable, RegisterError, RequestToken, SendError,
};
use weir_host::wire::Failure;

/// What became of a request.
pub type Answer = Result<Bytes, Failure>;

struct Registration {
    spec: ProtocolSpec,
    owner: String,
    handler: Arc<dyn Handler>,
}

#[derive(Default)]
struct State {
    registered: BTreeMap<ProtocolId, Registration>,
    /// How often each protocol was registered.
    registrations: BTreeMap<ProtocolId, u32>,
    peers: BTreeSet<PeerId>,
    sent: Vec<(PeerId, ProtocolId, Bytes)>,
    waiting: BTreeSet<RequestToken>,
    answers: BTreeMap<RequestToken, Answer>,
}

/// See the module. Every peer that is there supports every protocol.
#[derive(Default)]
pub struct MockNetwork {
    state: Mutex<State>,
    last: AtomicU64,
}

impl MockNetwork {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer comes.
    pub fn connect(&self, peer: PeerId) {
        let handlers: Vec<_> = {
            let mut state = self.state();
            state.peers.insert(peer);
            state.registered.values().map(|r| (r.handler.clone(), r.spec.clone())).collect()
        };
        for (handler, spec) in handlers {
            handler.news(News::Supported { peer, protocol: spec.id, max_message: spec.max_message });
        }
    }

    fn handler(&self, protocol: &ProtocolId) -> Option<Arc<dyn Handler>> {
        self.state().registered.get(protocol).map(|registration| registration.handler.clone())
    }

    /// Delivers messages as one read of a stream would. False when nobody has the protocol.
    pub async fn deliver(&self, peer: PeerId, protocol: &ProtocolId, bodies: &[&[u8]]) -> bool {
        let items = bodies.iter().map(|body| Inbound::Message(Bytes::copy_from_slice(body))).collect();
        match self.handler(protocol) {
            Some(handler) => handler.deliver(InBatch { peer, protocol: protocol.clone(), items }).await.is_ok(),
            None => false,
        }
    }

    /// How often the protocol was registered.
    pub fn registrations(&self, protocol: &ProtocolId) -> u32 {
        self.state().registrations.get(protocol).copied().unwrap_or(0)
    }

    /// Whether nothing was sent since it was last taken.
    pub fn is_silent(&self) -> bool {
        self.state().sent.is_empty()
    }

    /// What was sent so far.
    pub fn take_sent(&self) -> Vec<(PeerId, ProtocolId, Bytes)> {
        std::mem::take(&mut self.state().sent)
    }
}

impl Network for MockNetwork {
    fn node(&self) -> PeerId {
        PeerId::from_bytes([9; 32])
    }

    fn lane(&self, to: &PeerId, protocol: &ProtocolId) -> Result<LaneStatus, SendError> {
        let state = self.state();
        let registration = state.registered.get(protocol).ok_or(SendError::Closed)?;
        if !state.peers.contains(to) {
            return Err(SendError::NotConnected);
        }
        Ok(LaneStatus { room: 1 << 20, shared: 16 << 20, max_message: registration.spec.max_message })
    }

    fn commit(&self, to: &PeerId, protocol: &ProtocolId, what: Vec<Outgoing>) {
        for outgoing in what {
            match outgoing {
                Outgoing::Message(body) => self.state().sent.push((*to, protocol.clone(), body)),
                Outgoing::Ask { reply, .. } => reply(Err(AskError::TimedOut)),
            }
        }
    }

    fn wants_room(&self, to: &PeerId, protocol: &ProtocolId) {
        let handler = self.state().registered.get(protocol).map(|registration| registration.handler.clone());
        if let Some(handler) = handler {
            handler.news(News::Relieved { peer: *to, protocol: protocol.clone() });
        }
    }

    fn settled<'a>(&'a self, _: &'a ProtocolId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn next_ask(&self) -> AskId {
        AskId(self.last.fetch_add(1, Ordering::Relaxed))
    }

    fn cancel(&self, _: AskId) {}

    fn awaits(&self, request: RequestToken) -> bool {
        self.state().waiting.contains(&request)
    }

    fn respond(&self, request: RequestToken, outcome: Answer) -> bool {
        let mut state = self.state();
        let waited = state.waiting.remove(&request);
        if waited {
            state.answers.insert(request, outcome);
        }
        waited
    }

    fn register(&self, spec: ProtocolSpec, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let peers = {
            let mut state = self.state();
            if let Some(taken) = state.registered.get(&spec.id) {
                return Err(RegisterError::Taken { id: spec.id, owner: taken.owner.clone() });
            }
            *state.registrations.entry(spec.id.clone()).or_default() += 1;
            let registration = Registration { spec: spec.clone(), owner: owner.to_owned(), handler: handler.clone() };
            state.registered.insert(spec.id.clone(), registration);
            state.peers.clone()
        };
        for peer in peers {
            handler.news(News::Supported { peer, protocol: spec.id.clone(), max_message: spec.max_message });
        }
        Ok(())
    }

    fn replace(&self, id: &ProtocolId, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let mut state = self.state();
        let registration = state.registered.get_mut(id).ok_or(RegisterError::Closed)?;
        (registration.owner, registration.handler) = (owner.to_owned(), handler);
        Ok(())
    }

    fn unregister(&self, id: &ProtocolId) {
        let removed = {
            let mut state = self.state();
            state.registered.remove(id).map(|registration| (registration, state.peers.clone()))
        };
        if let Some((registration, peers)) = removed {
            for peer in peers {
                registration.handler.news(News::Unsupported { peer, protocol: id.clone() });
            }
        }
    }

    fn reachable(&self, _: &ProtocolId) -> Vec<Reachable> {
        self.state().peers.iter().map(|peer| Reachable { peer: *peer, max_message: 1 << 16 }).collect()
    }

    fn owner(&self, protocol: &ProtocolId) -> Option<String> {
        self.state().registered.get(protocol).map(|registration| registration.owner.clone())
    }
}
