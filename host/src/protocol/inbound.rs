//! What comes in: from a stream's header to its handler, and from frames to what a handler takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::manager::{Inner, lock};
use super::outbound::LONGEST_ASK;
use super::pairs::{Pair, PeerPairs};
use super::requests::{Asker, NotOpened};
use super::state::belongs;
use super::traffic::messages;
use super::{AskError, AskId, InBatch, Inbound, News, NotTaken};
use crate::peer::PeerId;
use crate::stream::{Delivery, Inlet, Opening, OutFrame, Outlet};
use crate::wire::{Failure, Frame, FrameKind, StopCode, StreamHeader};

/// The way in, as the stream layer knows it.
pub(super) struct Entrance(pub Weak<Inner>);

/// Streams that never came to a handler, and messages whose handler was gone before they were queued.
#[derive(Debug, Default)]
pub(super) struct Stops {
    pub out_of_sequence: AtomicU64,
    pub unregistered: AtomicU64,
    pub cut: AtomicU64,
    pub unclaimed: AtomicU64,
}

impl Inlet for Entrance {
    fn open<'a>(&'a self, peer: PeerId, header: &'a StreamHeader) -> Opening<'a> {
        Box::pin(async move {
            let node = self.0.upgrade().ok_or(StopCode::Closing)?;
            let (applied, of_peer) = {
                let of_peer = node.pairs.peer(&peer).ok_or(StopCode::Closing)?;
                (of_peer.applied.subscribe(), Arc::downgrade(&of_peer))
            };
            // The sending end goes with the peer, so nobody waits for one that is gone; the stream layer has a
            // deadline for one that is there.
            {
                let patience = Patience { node: &node, peer, header, over: AtomicBool::new(false) };
                let outcome = applied.at_least(header.sequence).await;
                patience.over.store(true, Ordering::Relaxed);
                outcome.map_err(|_| StopCode::Closing)?;
            }
            let of_peer = of_peer.upgrade().ok_or(StopCode::Closing)?;
            match find(&node, &of_peer, header) {
                Some(pair) => {
                    let asker = Asker { peer, protocol: pair.registration.id.clone() };
                    Ok(Arc::new(Door { node, pair, asker }) as Arc<dyn Outlet>)
                }
                None => {
                    node.stops.unregistered.fetch_add(1, Ordering::Relaxed);
                    let (registration, sequence) = (header.registration, header.sequence);
                    debug!(%peer, registration, sequence, "a stream for a registration that is not, or not any more");
                    Err(StopCode::Unregistered)
                }
            }
        })
    }
}

/// The open pair that a stream is for.
fn find(node: &Inner, of_peer: &PeerPairs, header: &StreamHeader) -> Option<Arc<Pair>> {
    let registration = node.registry.numbered(header.registration)?;
    let pair = of_peer.get(&registration.id)?;
    belongs(header, of_peer.incarnation, pair.registration.number, pair.remote_registration).then_some(pair)
}

/// Counts a wait that is given up.
struct Patience<'a> {
    node: &'a Inner,
    peer: PeerId,
    header: &'a StreamHeader,
    over: AtomicBool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !*self.over.get_mut() {
            self.node.stops.out_of_sequence.fetch_add(1, Ordering::Relaxed);
            let (peer, sequence) = (self.peer, self.header.sequence);
            debug!(%peer, sequence, "a stream waited in vain for the set that its header names");
        }
    }
}

/// The way of one stream to its handler.
struct Door {
    node: Arc<Inner>,
    pair: Arc<Pair>,
    asker: Asker,
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.pair.closed.is_cancelled() {
            self.node.stops.cut.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Outlet for Door {
    fn max_message(&self) -> u32 {
        self.pair.registration.max_message
    }

    fn closed(&self) -> CancellationToken {
        self.pair.closed.clone()
    }

    fn deliver(&self, frames: Vec<Frame>) -> Delivery<'_> {
        Box::pin(async move {
            let mut held = Held { door: self, items: Vec::with_capacity(frames.len()) };
            for Frame { kind, body } in frames {
                match kind {
                    FrameKind::Message => held.items.push(Inbound::Message(body)),
                    FrameKind::Request { .. } if self.pair.lane.is_clogged() => {
                        // The peer asks and does not read: not even refusals are held for it.
                        held.pass_on().await?;
                        return Err(StopCode::TooManyRequests);
                    }
                    FrameKind::Request { id, timeout_ms } => held.items.extend(self.request(id, timeout_ms, body)),
                    FrameKind::Withdraw { id } => self.withdraw(id, &mut held.items),
                    FrameKind::Answer { id } => {
                        // What came before the answer is heard before it.
                        held.pass_on().await?;
                        self.answer(id, Ok(body));
                    }
                    FrameKind::Refusal { id } => {
                        let failure = Failure::decode(&body).map_err(|_| StopCode::Malformed)?;
                        held.pass_on().await?;
                        self.answer(id, Err(refused(failure)));
                    }
                }
            }
            held.pass_on().await
        })
    }
}

/// What a refusal means to the asker: the code `busy` is our own, for too many open requests.
fn refused(failure: Failure) -> AskError {
    if failure.code == "busy" { AskError::Busy } else { AskError::Refused(failure) }
}

/// What was decoded and no handler has. Dropped, because its stream was stopped or its handler is gone, its requests are
/// open no more: nobody would ever answer them, and their peer could open no others.
struct Held<'a> {
    door: &'a Door,
    items: Vec<Inbound>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Held<'_> {
    async fn pass_on(&mut self) -> Result<(), StopCode> {
        if self.items.is_empty() {
            return Ok(());
        }
        let Door { node, pair, .. } = self.door;
        let messages = messages(&self.items);
        if pair.closed.is_cancelled() {
            return Err(StopCode::Unregistered);
        }
        let mut served = pair.registration.served();
        let items = std::mem::take(&mut self.items);
        let Err(batch) = served.handler.try_deliver(self.door.batch(items)) else {
            node.traffic.delivered(messages);
            return Ok(());
        };
        self.items = batch.items;
        loop {
            let batch = self.door.batch(self.items.clone());
            let taken = tokio::select! {
                biased;
                () = pair.closed.cancelled() => return Err(StopCode::Unregistered),
                // What waits for room at one handler goes to the one that replaces it.
                () = served.over.cancelled() => Err(NotTaken::Gone),
                taken = served.handler.deliver(batch) => taken,
            };
            match taken {
                Ok(()) => {
                    self.items.clear();
                    node.traffic.delivered(messages);
                    return Ok(());
                }
                Err(_) if served.over.is_cancelled() => served = pair.registration.served(),
                Err(NotTaken::Muted(time)) => {
                    self.refuse_muted(time);
                    return Err(StopCode::Muted);
                }
                Err(NotTaken::Gone) if pair.closed.is_cancelled() => return Err(StopCode::Unregistered),
                Err(NotTaken::Gone) => return Err(StopCode::HandlerGone),
            }
        }
    }

    /// Whoever asks is told at once; a stream that is stopped tells only of messages.
    fn refuse_muted(&mut self, time: Duration) {
        // Rounded up, so that who waits for so long is heard.
        let message = format!("muted for {} for another {} s", self.door.asker.protocol, time.as_secs() + 1);
        for id in self.take_back() {
            let failure = Failure { code: "muted".into(), message: message.clone() };
            self.door.pair.lane.push(vec![OutFrame::Refusal { id, failure }]);
        }
    }

    /// Closes the requests that are open: the ids by which they were asked.
    fn take_back(&mut self) -> Vec<u64> {
        let mut requests = None;
        let mut ids = Vec::new();
        for item in self.items.drain(..) {
            let Inbound::Request { token, .. } = item else { continue };
            let requests = requests.get_or_insert_with(|| lock(&self.door.node.requests));
            ids.extend(requests.take(token).map(|(_, id)| id));
        }
        ids
    }
}

impl Door {
    fn batch(&self, items: Vec<Inbound>) -> InBatch {
        InBatch { peer: self.asker.peer, protocol: self.asker.protocol.clone(), items }
    }

    fn request(&self, id: u64, timeout_ms: u32, body: bytes::Bytes) -> Option<Inbound> {
        // As long as an ask of this node may take; a longer one would hold its place for weeks.
        let timeout = Duration::from_millis(timeout_ms.into()).min(LONGEST_ASK);
        let deadline = Instant::now().into_std() + timeout;
        let opened = lock(&self.node.requests).open(&self.asker, id, deadline);
        let message = match opened {
            Ok(token) => return Some(Inbound::Request { token, timeout, body }),
            Err(NotOpened::Twice) => format!("a request with the id {id} is open already"),
            Err(NotOpened::Full(full)) => {
                let Asker { peer, protocol } = &self.asker;
                let (scope, limit, value, taken) = (full.scope.name(), full.what, full.limit, full.taken);
                debug!(%peer, %protocol, scope, limit, value, taken, "refused a request of the peer");
                full.to_string()
            }
        };
        let failure = Failure { code: "busy".into(), message };
        self.pair.lane.push(vec![OutFrame::Refusal { id, failure }]);
        None
    }

    fn withdraw(&self, id: u64, items: &mut Vec<Inbound>) {
        let Some(gone) = lock(&self.node.requests).withdraw(&self.asker, id) else { return };
        let before = items.len();
        items.retain(|item| !matches!(item, Inbound::Request { token, .. } if *token == gone));
        if items.len() == before {
            self.pair.registration.handler().news(News::Withdrawn(gone));
        }
    }

    fn answer(&self, id: u64, outcome: Result<bytes::Bytes, AskError>) {
        let reply = lock(&self.node.asks).take(AskId(id), &self.asker.peer, &self.asker.protocol);
        if let Some(reply) = reply {
            self.node.traffic.end(reply, outcome);
        }
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
