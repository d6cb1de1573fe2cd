//! The one task of a pool: it opens streams of the connection, and keeps the pool's deadlines.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::state::Event;
use crate::transport::{LinkError, LinkHandle, SendStream};

type Opening = Pin<Box<dyn Future<Output = (LinkHandle, Result<SendStream, LinkError>)> + Send>>;

/// Runs until the pool is closed. An open that is under way is never dropped: it would swallow the wake-up of the next.
pub(super) async fn keep_filled(shared: Arc<Shared>, link: LinkHandle) {
    let mut resting = Some(link);
    let mut opening: Option<Opening> = None;
    loop {
        let (closed, wanted, deadline) = {
            let mut inner = shared.lock();
            inner.next_look = inner.state.next_deadline();
            (inner.state.is_closed(), inner.to_open > 0, inner.next_look)
        };
        if wanted && let Some(link) = resting.take() {
            opening = Some(open(link));
        }
        if closed && opening.is_none() {
            return;
        }
        tokio::select! {
            biased;
            (link, opened) = ready(&mut opening) => {
                (opening, resting) = (None, Some(link));
                shared.opened(opened);
            }
            () = at(deadline) => shared.handle(Event::Tick),
            () = shared.changed.notified() => {}
        }
    }
}

impl Shared {
    fn opened(self: &Arc<Self>, opened: Result<SendStream, LinkError>) {
        match opened {
            Ok(stream) => self.handle_with(Event::Opened { stream: stream.id() }, |inner| {
                inner.to_open = inner.to_open.saturating_sub(1);
                inner.streams.insert(stream.id(), stream);
            }),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "no stream can be opened any more");
                self.close();
            }
        }
    }
}

fn open(mut link: LinkHandle) -> Opening {
    Box::pin(async move {
        let opened = link.open_send_stream().await;
        (link, opened)
    })
}

async fn ready(opening: &mut Option<Opening>) -> (LinkHandle, Result<SendStream, LinkError>) {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
