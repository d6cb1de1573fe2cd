//! Native handlers: a protocol in plain Rust, next to the plugins and by the same trait.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Delivered, Handler, HandlerGone, InBatch, News, NewsBoard};

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
    batches: VecDeque<InBatch>,
    /// Nobody reads any more.
    inbox_gone: bool,
    /// Nobody delivers any more.
    handler_gone: bool,
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
    fn deliver(&self, batch: InBatch) -> Delivered<'_> {
        Box::pin(async move {
            loop {
                let mut room = pin!(self.0.room.notified());
                room.as_mut().enable();
                {
                    let mut queue = self.0.queue();
                    if queue.inbox_gone {
                        return Err(HandlerGone);
                    }
                    if queue.batches.len() < self.0.capacity {
                        queue.batches.push_back(batch);
                        self.0.arrived.notify_one();
                        return Ok(());
                    }
                }
                room.await;
            }
        })
    }

    fn news(&self, news: News) {
        let mut queue = self.0.queue();
        if let News::Unsupported { peer, protocol } = &news {
            queue.batches.retain(|batch| batch.peer != *peer || batch.protocol != *protocol);
            self.0.room.notify_waiters();
        }
        queue.board.post(news);
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

    fn take(&self) -> Option<NativeEvent> {
        let mut queue = self.0.queue();
        if queue.news.is_empty() {
            queue.news = queue.board.take().into();
        }
        if let Some(news) = queue.news.pop_front() {
            return Some(NativeEvent::News(news));
        }
        let batch = queue.batches.pop_front()?;
        self.0.room.notify_waiters();
        Some(NativeEvent::Batch(batch))
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
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::peer::PeerId;
    use crate::protocol::{Inbound, ProtocolId};

    fn batch(peer: u8) -> InBatch {
        InBatch { peer: PeerId::from_bytes([peer; 32]), protocol: id(), items: vec![Inbound::Message(Bytes::new())] }
    }

    fn id() -> ProtocolId {
        "/a/1".parse().expect("an id")
    }

    #[tokio::test]
    async fn a_full_inbox_makes_the_stream_wait_and_an_end_purges() {
        let (handler, mut inbox) = native(1);
        handler.deliver(batch(1)).await.expect("room");
        let mut waiting = handler.deliver(batch(2));
        assert!(futures_poll(&mut waiting).is_none(), "no room");
        let gone = PeerId::from_bytes([1; 32]);
        handler.news(News::Unsupported { peer: gone, protocol: id() });
        waiting.await.expect("room after the purge");
        assert!(matches!(inbox.next().await, Some(NativeEvent::News(News::Unsupported { .. }))));
        assert_eq!(inbox.next().await, Some(NativeEvent::Batch(batch(2))));
        drop(handler);
        assert_eq!(inbox.next().await, None);
    }

    #[tokio::test]
    async fn a_dropped_inbox_is_told() {
        let (handler, inbox) = native(1);
        drop(inbox);
        assert_eq!(handler.deliver(batch(1)).await, Err(HandlerGone));
    }

    fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
