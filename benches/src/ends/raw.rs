//! QUIC streams by themselves: the node's own endpoints, with its TLS and windows, and nothing of the node above them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::runtime::SeededEntropy;
use weir_host::transport::{
    ControlStream, Incoming, Link, LinkAcceptor, ReceiveStream, SendStream, Transport, TransportConfig,
};

use super::Tally;

/// An endpoint.
pub struct RawNode {
    transport: Transport,
    incoming: Incoming,
}

impl RawNode {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When the system has none.
    pub fn start() -> Result<Self> {
        let key = Arc::new(NodeKey::generate(&SeededEntropy::from_system()?));
        let (transport, incoming) = Transport::bind(TransportConfig::new(key, "127.0.0.1:0".parse()?))?;
        Ok(Self { transport, incoming })
    }

    /// Where it is dialed.
    pub fn address(&self) -> PeerAddr {
        PeerAddr { peer: self.transport.peer_id(), address: self.transport.local_address() }
    }

    /// Connects to one in another process.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn dial(&self, to: PeerAddr) -> Result<Link> {
        Ok(self.transport.dial(to).await?)
    }

    /// The next peer that dials.
    ///
    /// # Errors
    /// When the endpoint is closed.
    pub async fn accept(&mut self) -> Result<Link> {
        self.incoming.accept().await.context("the endpoint accepts")
    }

    /// Lets everybody in: counts the bytes of their streams, or sends back what comes by streams in both directions.
    pub async fn serve(mut self, bytes: Arc<Tally>, echo: bool) {
        while let Some(Link { handle, mut acceptor, .. }) = self.incoming.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                // The connection lives as long as this does.
                let _handle = handle;
                if echo {
                    while let Ok(Some(stream)) = acceptor.accept_control_stream().await {
                        tokio::spawn(send_back(stream));
                    }
                } else {
                    count_all(acceptor, bytes).await;
                }
            });
        }
    }

    /// Connects to another one.
    ///
    /// # Errors
    /// When either side does not see the other.
    pub async fn connect(&self, other: &mut Self) -> Result<Raw> {
        let to = other.address();
        let (near, far) = tokio::join!(self.transport.dial(to), other.incoming.accept());
        Ok(Raw { near: near?, far: far.context("the endpoint accepts")? })
    }
}

/// A connection, seen from both sides.
pub struct Raw {
    near: Link,
    far: Link,
}

impl Raw {
    /// Both sides by themselves: who dialed, and who was dialed.
    pub fn into_links(self) -> (Link, Link) {
        (self.near, self.far)
    }

    /// Opens a stream whose bytes are counted at the other end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn stream(&mut self, bytes: Arc<Tally>) -> Result<SendStream> {
        let mut send = self.near.handle.open_send_stream().await?;
        // A stream exists for the other side when its first byte has come.
        send.write(&mut [Bytes::from_static(b"0")]).await?;
        let receive = self.far.acceptor.accept_receive_stream().await?.context("a stream")?;
        tokio::spawn(count(receive, bytes));
        Ok(send)
    }

    /// Opens a stream in both directions, on which the other end sends back what comes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn echo(&mut self) -> Result<ControlStream> {
        let mut near = self.near.handle.open_control_stream().await?;
        near.send.write(&mut [Bytes::from_static(b"0")]).await?;
        tokio::spawn(send_back(self.far.acceptor.accept_control_stream().await?.context("a stream")?));
        near.receive.read().await?.context("an answer")?;
        Ok(near)
    }
}

/// Counts the bytes of all streams that the peer opens.
pub(super) async fn count_all(mut acceptor: LinkAcceptor, bytes: Arc<Tally>) {
    while let Ok(Some(stream)) = acceptor.accept_receive_stream().await {
        tokio::spawn(count(stream, bytes.clone()));
    }
}

async fn count(mut stream: ReceiveStream, bytes: Arc<Tally>) {
    let mut chunks = Vec::new();
    while stream.read_many(&mut chunks).await.is_ok_and(|open| open || !chunks.is_empty()) {
        let come: usize = chunks.drain(..).map(|chunk| chunk.len()).sum();
        bytes.add(come as u64);
    }
}

async fn send_back(stream: ControlStream) {
    let ControlStream { mut send, mut receive } = stream;
    while let Ok(Some(chunk)) = receive.read().await {
        if send.write(&mut [chunk]).await.is_err() {
            break;
        }
    }
}
