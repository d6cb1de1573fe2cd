//! What goes out: the node as handlers see it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::asks::MAX_ASKS;
use super::manager::{Inner, ProtocolManager, lock};
use super::pairs::Pair;
use super::registry::Registration;
use super::requests::Asker;
use super::traffic::Traffic;
use super::{
    AskError, AskId, Handler, LaneStatus, Network, News, Outgoing, ProtocolId, ProtocolSpec, Reachable, RegisterError,
    RequestToken, SendError,
};
use crate::peer::PeerId;
use crate::reached::names;
use crate::stream::{LaneEvents, OutFrame};
use crate::wire::Failure;

/// The longest an ask may wait. Whoever names a longer time gets this one.
pub const LONGEST_ASK: Duration = Duration::from_secs(24 * 60 * 60);

impl Network for ProtocolManager {
    fn node(&self) -> PeerId {
        self.inner.node
    }

    fn lane(&self, to: &PeerId, protocol: &ProtocolId) -> Result<LaneStatus, SendError> {
        let pair = self.inner.pair(to, protocol)?;
        let shared = pair.lane.budget().free();
        Ok(LaneStatus { room: pair.lane.room(), shared, max_message: pair.max_message })
    }

    fn commit(&self, to: &PeerId, protocol: &ProtocolId, what: Vec<Outgoing>) {
        match self.inner.pair(to, protocol) {
            Ok(pair) => self.inner.put(to, protocol, &pair, what),
            Err(why) => self.inner.lose(to, protocol, why, what),
        }
    }

    fn wants_room(&self, to: &PeerId, protocol: &ProtocolId) {
        if let Ok(pair) = self.inner.pair(to, protocol) {
            pair.lane.wants_room();
        }
    }

    fn settled<'a>(&'a self, protocol: &'a ProtocolId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let lanes: Vec<_> =
            self.inner.pairs.of_protocol(protocol).into_iter().map(|(_, pair)| pair.lane.clone()).collect();
        Box::pin(async move {
            for lane in lanes {
                lane.settled().await;
            }
        })
    }

    fn next_ask(&self) -> AskId {
        AskId(self.inner.last_ask.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn cancel(&self, ask: AskId) {
        let cancelled = lock(&self.inner.asks).cancel(ask);
        if let Some((peer, protocol)) = cancelled {
            self.inner.withdraw(ask, &peer, &protocol);
        }
    }

    fn awaits(&self, request: RequestToken) -> bool {
        lock(&self.inner.requests).awaits(request, Instant::now().into_std())
    }

    fn respond(&self, request: RequestToken, outcome: Result<Bytes, Failure>) -> bool {
        let taken = lock(&self.inner.requests).take(request);
        taken.is_some_and(|(asker, id)| self.inner.answer(&asker, [(id, outcome)]))
    }

    fn respond_all(&self, answers: Vec<(RequestToken, Result<Bytes, Failure>)>) {
        let mut taken: Vec<(Asker, u64, Result<Bytes, Failure>)> = Vec::with_capacity(answers.len());
        {
            let mut requests = lock(&self.inner.requests);
            for (request, outcome) in answers {
                taken.extend(requests.take(request).map(|(asker, id)| (asker, id, outcome)));
            }
        }
        let mut taken = taken.into_iter().peekable();
        while let Some((asker, id, outcome)) = taken.next() {
            let mut of_asker = vec![(id, outcome)];
            while let Some((_, id, outcome)) = taken.next_if(|(of, ..)| *of == asker) {
                of_asker.push((id, outcome));
            }
            self.inner.answer(&asker, of_asker);
        }
    }

    fn register(&self, spec: ProtocolSpec, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        self.inner.register(spec, owner, handler)
    }

    fn replace(&self, id: &ProtocolId, owner: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        self.inner.replace(id, owner, handler)
    }

    fn unregister(&self, id: &ProtocolId) {
        self.inner.unregister(id);
    }

    fn reachable(&self, protocol: &ProtocolId) -> Vec<Reachable> {
        let reachable = |(peer, pair): (PeerId, Arc<Pair>)| Reachable { peer, max_message: pair.max_message };
        self.inner.pairs.of_protocol(protocol).into_iter().map(reachable).collect()
    }

    fn owner(&self, protocol: &ProtocolId) -> Option<String> {
        Some(self.inner.registry.named(protocol)?.owner())
    }
}

impl Inner {
    /// The open pair, or why there is none.
    fn pair(&self, peer: &PeerId, protocol: &ProtocolId) -> Result<Arc<Pair>, SendError> {
        let of_peer = self.pairs.peer(peer).filter(|of_peer| !of_peer.draining.load(Ordering::Acquire));
        if let Some(pair) = of_peer.as_ref().and_then(|of_peer| of_peer.get(protocol)) {
            return Ok(pair);
        }
        Err(if self.closed.load(Ordering::Acquire) || self.registry.named(protocol).is_none() {
            SendError::Closed
        } else if of_peer.is_none() {
            SendError::NotConnected
        } else {
            SendError::Unsupported
        })
    }

    /// Puts the answers to requests that were taken on the lane to the asker, in order. False when it is gone.
    fn answer(&self, asker: &Asker, answers: impl IntoIterator<Item = (u64, Result<Bytes, Failure>)>) -> bool {
        let Ok(pair) = self.pair(&asker.peer, &asker.protocol) else { return false };
        let most = pair.max_message;
        let frame = |(id, outcome): (u64, Result<Bytes, Failure>)| match outcome {
            Ok(body) if body.len() <= most as usize => OutFrame::Answer { id, body },
            Ok(body) => {
                let message = format!("the answer of {} bytes is above the limit of {most}", body.len());
                OutFrame::Refusal { id, failure: Failure { code: "answer-too-large".into(), message } }
            }
            Err(failure) => OutFrame::Refusal { id, failure },
        };
        pair.lane.push(answers.into_iter().map(frame).collect());
        true
    }

    /// Puts everything on the lane, in order.
    pub(super) fn put(&self, to: &PeerId, protocol: &ProtocolId, pair: &Pair, what: Vec<Outgoing>) {
        self.traffic.accepted(&what);
        let mut frames = Vec::with_capacity(what.len());
        for outgoing in what {
            match outgoing {
                Outgoing::Message(body) => frames.push(OutFrame::Message(body)),
                Outgoing::Ask { id, timeout, body, reply } => {
                    let timeout = timeout.min(LONGEST_ASK);
                    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                    let deadline = Instant::now().into_std() + timeout;
                    match lock(&self.asks).open(id, *to, protocol.clone(), deadline, reply) {
                        Ok(()) => frames.push(OutFrame::Request { id: id.0, timeout_ms, body }),
                        Err(reply) => {
                            let (scope, limit, value) = ("node", names::ASKS, MAX_ASKS);
                            tracing::debug!(peer = %to, %protocol, scope, limit, value, "refused an ask");
                            self.traffic.end(reply, Err(AskError::Busy));
                        }
                    }
                }
            }
        }
        for refused in pair.lane.push(frames) {
            let reply = lock(&self.asks).take(AskId(refused), to, protocol);
            if let Some(reply) = reply {
                self.traffic.end(reply, Err(AskError::Busy));
            }
        }
    }

    /// The pair was shut between the check and the commit.
    fn lose(&self, to: &PeerId, protocol: &ProtocolId, why: SendError, what: Vec<Outgoing>) {
        self.traffic.accepted(&what);
        let failed = match why {
            SendError::NotConnected => AskError::NotConnected,
            SendError::Closed => AskError::Closed,
            _ => AskError::Unsupported,
        };
        let mut messages = 0;
        for outgoing in what {
            match outgoing {
                Outgoing::Message(_) => messages += 1,
                Outgoing::Ask { reply, .. } => self.traffic.end(reply, Err(failed.clone())),
            }
        }
        if messages == 0 {
            return;
        }
        tracing::debug!(peer = %to, %protocol, messages, %why, "the pair was shut before the commit");
        match self.registry.named(protocol) {
            Some(registration) => {
                self.traffic.undelivered(messages);
                registration.handler().news(News::Undelivered { peer: *to, protocol: protocol.clone(), messages });
            }
            None => drop(self.stops.unclaimed.fetch_add(messages, Ordering::Relaxed)),
        }
    }

    /// Tells the peer that an ask needs no answer any more.
    pub(super) fn withdraw(&self, ask: AskId, peer: &PeerId, protocol: &ProtocolId) {
        if let Ok(pair) = self.pair(peer, protocol) {
            pair.lane.push(vec![OutFrame::Withdraw { id: ask.0 }]);
        }
    }
}

/// What a lane tells its protocol's handler.
pub(super) struct Notices {
    peer: PeerId,
    registration: Arc<Registration>,
    traffic: Arc<Traffic>,
}

impl Notices {
    pub(super) fn of(peer: PeerId, registration: &Arc<Registration>, traffic: &Arc<Traffic>) -> Arc<dyn LaneEvents> {
        Arc::new(Self { peer, registration: registration.clone(), traffic: traffic.clone() })
    }
}

impl LaneEvents for Notices {
    fn congested(&self) {
        let protocol = self.registration.id.clone();
        self.registration.handler().news(News::Congested { peer: self.peer, protocol });
    }

    fn relieved(&self) {
        let protocol = self.registration.id.clone();
        self.registration.handler().news(News::Relieved { peer: self.peer, protocol });
    }

    fn undelivered(&self, messages: u64) {
        self.traffic.undelivered(messages);
        let protocol = self.registration.id.clone();
        self.registration.handler().news(News::Undelivered { peer: self.peer, protocol, messages });
    }
}
