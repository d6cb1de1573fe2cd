//! Room in the queue to the layers above, for somebody who is interrupted while it waits.

use std::pin::Pin;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{self, OwnedPermit};

type Reserving<T> = Pin<Box<dyn Future<Output = Result<OwnedPermit<T>, SendError<()>>> + Send>>;

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
        let room = self.waiting.get_or_insert_with(|| Box::pin(self.queue.clone().reserve_owned())).await;
        self.waiting = None;
        room.ok()
    }

    /// There is nothing to say any more: leaves the line, so that nobody waits for who does not come.
    pub(super) fn leave(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::poll_once;

    #[tokio::test]
    async fn who_is_interrupted_while_it_waits_keeps_its_place() {
        let (queue, mut read) = mpsc::channel(1);
        let mut room = Room::in_queue(queue.clone());
        queue.try_send(0).expect("room for one");
        assert!(poll_once(room.reserve()).is_none());
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
            assert!(poll_once(room.reserve()).is_none());
        }
        assert_eq!(read.recv().await, Some(0));
        poll_once(room.reserve()).flatten().expect("the first in the line").send(9);
        assert_eq!(read.recv().await, Some(9));
        // Whoever has left the line is in nobody's way.
        assert!(poll_once(room.reserve()).is_none());
        room.leave();
        for _ in others {
            assert!(read.recv().await.is_some());
        }
    }
}
