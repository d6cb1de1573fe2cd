//! Native handlers: a protocol in plain Rust, next to the plugins and by the same trait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Delivered, Handler, InBatch, Inbound, News, NewsBoard, NotTaken, ProtocolId};
use crate::peer::PeerId;

/// What a native protocol hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NativeEvent {
    /// Heads whatever was delivered after it.
    News(News),
    /// From one peer, in order.
    Batch(InBatch),
}

#[derive(Debug, Default)]
struct Queue {
    board: NewsBoard,
    /// News taken off the board, on their way to the reader.
    news: VecDeque<News>,
    /// What was delivered, and farewells of protocols that another handler took over.
    events: VecDeque<NativeEvent>,
    /// How many of them are batches.
    batches: usize,
    /// Who is there: nobody else delivers.
    present: HashMap<ProtocolId, BTreeSet<PeerId>>,
    /// Nobody reads any more.
    inbox_gone: bool,
    /// Nobody delivers any more.
    handler_gone: bool,
}

impl Queue {
    /// Whether the batch may come in, once there is room.
    fn takes(&self, batch: &InBatch) -> bool {
        !self.inbox_gone && self.present.get(&batch.protocol).is_some_and(|peers| peers.contains(&batch.peer))
    }

    fn news(&mut self, news: News) {
        match &news {
            News::Supported { peer, protocol, .. } => {
                self.present.entry(protocol.clone()).or_default().insert(*peer);
                self.settle_farewell(*peer, protocol);
            }
            News::Unsupported { peer, protocol } => {
                if let Some(peers) = self.present.get_mut(protocol) {
                    peers.remove(peer);
                    if peers.is_empty() {
                        self.present.remove(protocol);
                    }
                }
                let messages = self.purge(*peer, protocol);
                if messages > 0 {
                    self.board.post(News::Missed { peer: *peer, protocol: protocol.clone(), messages });
                }
            }
            _ => {}
        }
        self.board.post(news);
    }

    /// Forgets what waits of a pair: how many messages. Its requests are withdrawn one by one.
    fn purge(&mut self, of: PeerId, by: &ProtocolId) -> u64 {
        let mut messages = 0;
        self.events.retain(|event| match event {
            NativeEvent::Batch(batch) if batch.peer == of && batch.protocol == *by => {
                messages += batch.items.iter().filter(|item| matches!(item, Inbound::Message(_))).count() as u64;
                self.batches -= 1;
                false
            }
            _ => true,
        });
        messages
    }

    /// A pair that comes back before its farewell was read: the farewell must not be read after the welcome.
    fn settle_farewell(&mut self, peer: PeerId, protocol: &ProtocolId) {
        let farewell = NativeEvent::News(News::Unsupported { peer, protocol: protocol.clone() });
        let before = self.events.len();
        self.events.retain(|event| *event != farewell);
        if self.events.len() < before {
            self.board.post(News::Unsupported { peer, protocol: protocol.clone() });
        }
    }

    /// Bids farewell to everybody after what was taken.
    fn taken_over(&mut self, protocol: &ProtocolId) {
        let gone = self.present.remove(protocol).unwrap_or_default();
        let farewell = |peer| NativeEvent::News(News::Unsupported { peer, protocol: protocol.clone() });
        self.events.extend(gone.into_iter().map(farewell));
    }
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    queue: Mutex<Queue>,
    arrived: Notify,
    room: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that is registered.
#[derive(Debug)]
pub struct NativeHandler(Arc<Shared>);

/// The end that a protocol reads. When it is dropped, peers' streams for the protocol are stopped.
#[derive(Debug)]
pub struct Inbox(Arc<Shared>);

/// A handler with room for `capacity` batches (each at most one read of one stream, so some 64 KiB), and its inbox.
///
/// ```
/// use weir_host::protocol::{Inbound, NativeEvent, Network, native};
///
/// async fn serve(network: std::sync::Arc<dyn Network>) -> anyhow::Result<()> {
///     let (handler, mut inbox) = native(64);
///     let echo = weir_host::protocol::ProtocolSpec {
///         id: "/echo/1.0.0".parse()?,
///         delivery: Default::default(),
///         max_message: 64 << 10,
///     };
///     network.register(echo, "echo", handler)?;
///     while let Some(event) = inbox.next().await {
///         let NativeEvent::Batch(batch) = event else { continue };
///         for item in batch.items {
///             if let Inbound::Request { token, body, .. } = item {
///                 network.respond(token, Ok(body));
///             }
///         }
///     }
///     Ok(())
/// }
/// ```
pub fn native(capacity: usize) -> (Arc<NativeHandler>, Inbox) {
    let shared = Arc::new(Shared {
        capacity: capacity.max(1),
        queue: Mutex::default(),
        arrived: Notify::new(),
        room: Notify::new(),
    });
    (Arc::new(NativeHandler(shared.clone())), Inbox(shared))
}

impl Handler for NativeHandler {
    fn try_deliver(&self, batch: InBatch) -> Result<(), InBatch> {
        let mut queue = self.0.queue();
        if queue.batches >= self.0.capacity || !queue.takes(&batch) {
            return Err(batch);
        }
        queue.batches += 1;
        queue.events.push_back(NativeEvent::Batch(batch));
        self.0.arrived.notify_one();
        Ok(())
    }

    fn deliver(&self, batch: InBatch) -> Delivered<'_> {
        Box::pin(async move {
            let mut batch = batch;
            loop {
                let mut room = pin!(self.0.room.notified());
                room.as_mut().enable();
                batch = match self.try_deliver(batch) {
                    Ok(()) => return Ok(()),
                    Err(batch) => batch,
                };
                if !self.0.queue().takes(&batch) {
                    return Err(NotTaken::Gone);
                }
                room.await;
            }
        })
    }

    fn news(&self, news: News) {
        let ended = matches!(news, News::Unsupported { .. });
        self.0.queue().news(news);
        if ended {
            self.0.room.notify_waiters();
        }
        self.0.arrived.notify_one();
    }

    fn taken_over(&self, protocol: &ProtocolId) {
        self.0.queue().taken_over(protocol);
        self.0.room.notify_waiters();
        self.0.arrived.notify_one();
    }
}

impl Inbox {
    /// The next event, news first; `None` when the handler is registered nowhere and nothing is left. Cancel safe.
    pub async fn next(&mut self) -> Option<NativeEvent> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            if self.0.queue().handler_gone {
                return None;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Batches that were taken and not read.
    pub fn waiting(&self) -> usize {
        self.0.queue().batches
    }

    fn take(&self) -> Option<NativeEvent> {
        let mut queue = self.0.queue();
        if queue.news.is_empty() {
            queue.news = queue.board.take().into();
        }
        if let Some(news) = queue.news.pop_front() {
            return Some(NativeEvent::News(news));
        }
        let event = queue.events.pop_front()?;
        if matches!(event, NativeEvent::Batch(_)) {
            queue.batches -= 1;
            self.0.room.notify_waiters();
        }
        Some(event)
    }
}

impl Drop for NativeHandler {
    fn drop(&mut self) {
        self.0.queue().handler_gone = true;
        self.0.arrived.notify_one();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.queue().inbox_gone = true;
        self.0.room.notify_waiters();
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
