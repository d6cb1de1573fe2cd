//! What comes in: from a stream's header to its handler, and from frames to what a handler takes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::manager::{Inner, lock};
use super::pairs::Pair;
use super::requests::{Asker, MAX_REQUESTS};
use super::{AskError, AskId, InBatch, Inbound, News};
use crate::peer::PeerId;
use crate::stream::{Delivery, Inlet, Opening, OutFrame, Outlet};
use crate::wire::{Failure, Frame, FrameKind, StopCode, StreamHeader};

/// The way in, as the stream layer knows it.
pub(super) struct Entrance(pub Weak<Inner>);

impl Inlet for Entrance {
    fn open<'a>(&'a self, peer: PeerId, header: &'a StreamHeader) -> Opening<'a> {
        Box::pin(async move {
            let node = self.0.upgrade().ok_or(StopCode::Closing)?;
            let applied = node.pairs.peer(&peer).ok_or(StopCode::Closing)?.applied.subscribe();
            // The sending end goes with the peer, so nobody waits for one that is gone; the stream layer has a
            // deadline for one that is there.
            applied.at_least(header.sequence).await.map_err(|_| StopCode::Closing)?;
            let registration = node.registry.numbered(header.registration).ok_or(StopCode::Unregistered)?;
            let pair = node.pairs.get(&peer, &registration.id).ok_or(StopCode::Unregistered)?;
            // Numbers are sequences: a stream from before the peer's own registration is of its predecessor.
            if header.sequence < pair.remote_registration {
                return Err(StopCode::Unregistered);
            }
            let asker = Asker { peer, protocol: registration.id.clone() };
            Ok(Arc::new(Door { node, pair, asker }) as Arc<dyn Outlet>)
        })
    }
}

/// The way of one stream to its handler.
struct Door {
    node: Arc<Inner>,
    pair: Arc<Pair>,
    asker: Asker,
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
            let mut items = Vec::with_capacity(frames.len());
            for Frame { kind, body } in frames {
                match kind {
                    FrameKind::Message => items.push(Inbound::Message(body)),
                    FrameKind::Request { .. } if self.pair.lane.is_clogged() => {
                        // The peer asks and does not read: not even refusals are held for it.
                        self.pass_on(&mut items).await?;
                        return Err(StopCode::TooManyRequests);
                    }
                    FrameKind::Request { id, timeout_ms } => items.extend(self.request(id, timeout_ms, body)),
                    FrameKind::Withdraw { id } => self.withdraw(id, &mut items),
                    FrameKind::Answer { id } => {
                        // What came before the answer is heard before it.
                        self.pass_on(&mut items).await?;
                        self.answer(id, Ok(body));
                    }
                    FrameKind::Refusal { id } => {
                        let failure = Failure::decode(&body).map_err(|_| StopCode::Malformed)?;
                        self.pass_on(&mut items).await?;
                        self.answer(id, Err(refused(failure)));
                    }
                }
            }
            self.pass_on(&mut items).await
        })
    }
}

/// What a refusal means to the asker: the code `busy` is our own, for too many open requests.
fn refused(failure: Failure) -> AskError {
    if failure.code == "busy" { AskError::Busy } else { AskError::Refused(failure) }
}

impl Door {
    async fn pass_on(&self, items: &mut Vec<Inbound>) -> Result<(), StopCode> {
        if items.is_empty() {
            return Ok(());
        }
        let items = std::mem::take(items);
        let batch = InBatch { peer: self.asker.peer, protocol: self.asker.protocol.clone(), items };
        let handler = self.pair.registration.handler();
        match self.pair.closed.run_until_cancelled(handler.deliver(batch)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(StopCode::HandlerGone),
            None => Err(StopCode::Unregistered),
        }
    }

    fn request(&self, id: u64, timeout_ms: u32, body: bytes::Bytes) -> Option<Inbound> {
        let timeout = Duration::from_millis(timeout_ms.into());
        let deadline = Instant::now().into_std() + timeout;
        let token = lock(&self.node.requests).open(&self.asker, id, deadline);
        if token.is_none() {
            let message = format!("{MAX_REQUESTS} requests of {} are open, the most", self.asker.protocol);
            let failure = Failure { code: "busy".into(), message };
            self.pair.lane.push(vec![OutFrame::Refusal { id, failure }]);
        }
        token.map(|token| Inbound::Request { token, timeout, body })
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
            reply(outcome);
        }
    }
}
