//! QUIC streams by themselves: the node's own endpoints, with its TLS and windows, and nothing of the node above them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::runtime::SeededEntropy;
use weir_host::transport::{ControlStream, Incoming, Link, SendStream, Transport, TransportConfig};

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

    /// Connects to another one.
    ///
    /// # Errors
    /// When either side does not see the other.
    pub async fn connect(&self, other: &mut Self) -> Result<Raw> {
        let to = PeerAddr { peer: other.transport.peer_id(), address: other.transport.local_address() };
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
        let mut receive = self.far.acceptor.accept_receive_stream().await?.context("a stream")?;
        tokio::spawn(async move {
            let mut chunks = Vec::new();
            while receive.read_many(&mut chunks).await.is_ok_and(|open| open || !chunks.is_empty()) {
                let come: usize = chunks.drain(..).map(|chunk| chunk.len()).sum();
                bytes.add(come as u64);
            }
        });
        Ok(send)
    }

    /// Opens a stream in both directions, on which the other end sends back what comes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn echo(&mut self) -> Result<ControlStream> {
        let mut near = self.near.handle.open_control_stream().await?;
        near.send.write(&mut [Bytes::from_static(b"0")]).await?;
        let ControlStream { mut send, mut receive } =
            self.far.acceptor.accept_control_stream().await?.context("a stream")?;
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = receive.read().await {
                if send.write(&mut [chunk]).await.is_err() {
                    break;
                }
            }
        });
        near.receive.read().await?.context("an answer")?;
        Ok(near)
    }
}
