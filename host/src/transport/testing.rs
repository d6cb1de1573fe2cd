//! Nodes and links on loopback, for the tests of this crate.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Incoming, Link, StreamLimits, Transport, TransportConfig};
use crate::identity::NodeKey;
use crate::peer::PeerAddr;
use crate::runtime::SeededEntropy;

/// A transport that listens on loopback, and what it is dialed with.
pub(crate) struct TestNode {
    pub(crate) transport: Transport,
    pub(crate) incoming: Incoming,
}

impl TestNode {
    /// The same seed is the same key.
    pub(crate) fn start(seed: u64) -> Self {
        Self::start_with(config(seed))
    }

    pub(crate) fn start_with(config: TransportConfig) -> Self {
        let (transport, incoming) = Transport::bind(config).expect("a free port on loopback");
        Self { transport, incoming }
    }

    pub(crate) fn address(&self) -> PeerAddr {
        PeerAddr { peer: self.transport.peer_id(), address: self.transport.local_address() }
    }

    /// The next link that was dialed to this node.
    pub(crate) async fn accept(&mut self) -> Link {
        soon(self.incoming.accept()).await.expect("the transport is open")
    }
}

pub(crate) fn config(seed: u64) -> TransportConfig {
    let key = NodeKey::generate(&SeededEntropy::from_seed(seed));
    TransportConfig::new(Arc::new(key), ([127, 0, 0, 1], 0).into())
}

/// Two ends of one connection: who dialed, who was dialed. They outlive the transports they came from.
pub(crate) async fn pair() -> (Link, Link) {
    pair_with(StreamLimits::default()).await
}

/// The same, with limits for both ends.
pub(crate) async fn pair_with(limits: StreamLimits) -> (Link, Link) {
    let dialer = TestNode::start_with(TransportConfig { limits, ..config(1) });
    let mut listener = TestNode::start_with(TransportConfig { limits, ..config(2) });
    let dialed = soon(dialer.transport.dial(listener.address())).await.expect("a dial on loopback");
    let accepted = listener.accept().await;
    (dialed, accepted)
}

/// No test waits for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("within 20 s")
}
