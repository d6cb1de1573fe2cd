//! Accepts connections on the socket and ends them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::logs::Closing;
use super::{router, socket};
use crate::folder::FolderError;
use crate::node::Node;

/// Connections open at once; a client that opens more waits. Twice the requests that may run, for idle ones.
const MAX_CONNECTIONS: usize = 128;

/// A client must have sent the head of its next request by then, or it is taken for gone.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After this time a connection ends with the request it is at, so that none holds its place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(3600);

/// How long the last answer of an old connection may take.
const LAST_ANSWER: Duration = Duration::from_secs(700);

/// A wait after a failed accept: what makes it fail, mostly a lack of file descriptors, does not end at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running admin API.
pub struct AdminServer {
    path: PathBuf,
    closing: CancellationToken,
    connections: TaskTracker,
}

impl AdminServer {
    /// Listens on the socket of the node's folder, whose lock the caller holds.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(node: Arc<Node>) -> Result<Self, FolderError> {
        let path = node.folder().socket();
        let listener = socket::listen(&path)?;
        let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
        let router = router(node).layer(Extension(Closing(closing.clone())));
        connections.spawn(accept(listener, router, closing.clone(), connections.clone()));
        Ok(Self { path, closing, connections })
    }

    /// Takes no more requests, lets those that run end within `grace`, and removes the socket.
    pub async fn shutdown(self, grace: Duration) {
        socket::remove(&self.path);
        self.closing.cancel();
        self.connections.close();
        if timeout(grace, self.connections.wait()).await.is_err() {
            tracing::warn!("{} admin connections were cut", self.connections.len());
        }
    }
}

async fn accept(listener: UnixListener, router: Router, closing: CancellationToken, connections: TaskTracker) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = serve(stream, router.clone(), closing.clone());
                connections.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, router: Router, closing: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => finish(connection.as_mut()).await,
        () = sleep(CONNECTION_LIFETIME) => finish(connection.as_mut()).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

type HttpConnection = http1::Connection<TokioIo<UnixStream>, TowerToHyperService<Router>>;

async fn finish(mut connection: std::pin::Pin<&mut HttpConnection>) -> hyper::Result<()> {
    connection.as_mut().graceful_shutdown();
    timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
}
