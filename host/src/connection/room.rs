//! Room in the queue to the layers above, for somebody who is interrupted while it waits.

use std::pin::Pin;

use tokio::sync::mpsc::{self, OwnedPermit};

type Reserving<T> = Pin<Box<dyn Future<Output = Option<OwnedPermit<T>>> + Send>>;

/// Waits for room, and keeps its place among others who do, however often it is interrupted.
pub(super) struct Room<T> {
    queue: mpsc::Sender<T>,
    waiting: Option<Reserving<T>>,
}

impl<T: Send + 'static> Room<T> {
    pub(super) fn in_queue(queue: mpsc::Sender<T>) -> Self {
        Self { queue, waiting: None }
    }

    pub(super) fn queue(&self) -> mpsc::Sender<T> {
        self.queue.clone()
    }

    /// Room for one; `None` when nobody reads any more. Cancel safe: the place in the line is kept.
    pub(super) async fn reserve(&mut self) -> Option<OwnedPermit<T>> {
        let queue = &self.queue;
        let reserve = || -> Reserving<T> {
            let queue = queue.clone();
            Box::pin(async { queue.reserve_owned().await.ok() })
        };
        let room = self.waiting.get_or_insert_with(reserve).await;
        self.waiting = None;
        room
    }

    /// There is nothing to say any more: leaves the line, so that nobody waits for who does not come.
    pub(super) fn leave(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn poll<O>(future: impl Future<Output = O>) -> Option<O> {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_is_interrupted_while_it_waits_keeps_its_place() {
        let (queue, mut read) = mpsc::channel(1);
        let mut room = Room::in_queue(queue.clone());
        queue.try_send(0).expect("room for one");
        assert!(poll(room.reserve()).is_none());
        // Others keep on coming, and whoever waits is interrupted each time.
        let others: Vec<_> = (1..=3)
            .map(|number| {
                tokio::spawn({
                    let queue = queue.clone();
                    async move { queue.send(number).await }
                })
            })
            .collect();
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert!(poll(room.reserve()).is_none());
        }
        assert_eq!(read.recv().await, Some(0));
        poll(room.reserve()).flatten().expect("the first in the line").send(9);
        assert_eq!(read.recv().await, Some(9));
        // Whoever has left the line is in nobody's way.
        assert!(poll(room.reserve()).is_none());
        room.leave();
        for _ in others {
            assert!(read.recv().await.is_some());
        }
    }
}
