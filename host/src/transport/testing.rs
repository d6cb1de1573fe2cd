//! Nodes and links on loopback, for the tests of this crate.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;

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

/// A router between a dialer and who it dials: it can lose everything from now on, or give the dialer another
/// address, as a router does that restarts.
pub(crate) struct Relay {
    address: SocketAddr,
    outside: watch::Sender<Option<IpAddr>>,
}

impl Relay {
    /// Leads to `to`, for one dialer.
    pub(crate) async fn start(to: SocketAddr) -> std::io::Result<Self> {
        let inside = UdpSocket::bind("127.0.0.1:0").await?;
        let address = inside.local_addr()?;
        let (outside, route) = watch::channel(Some(IpAddr::from([127, 0, 0, 1])));
        tokio::spawn(relay(inside, to, route));
        Ok(Self { address, outside })
    }

    /// What to dial instead.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses everything from now on.
    pub(crate) fn cut(&self) {
        self.outside.send_replace(None);
    }

    /// What the dialer sends comes from this address of the machine from now on.
    pub(crate) fn move_to(&self, ip: [u8; 4]) {
        self.outside.send_replace(Some(ip.into()));
    }
}

async fn relay(inside: UdpSocket, to: SocketAddr, mut route: watch::Receiver<Option<IpAddr>>) -> std::io::Result<()> {
    let (mut dialer, mut out, mut back) = (None, [0; 2_000], [0; 2_000]);
    let mut outside = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await?;
    loop {
        tokio::select! {
            changed = route.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let ip = *route.borrow_and_update();
                match ip {
                    Some(ip) => outside = UdpSocket::bind((ip, 0)).await?,
                    // The sockets stay open: a closed one would answer that nobody is there.
                    None => return std::future::pending().await,
                }
            }
            packet = inside.recv_from(&mut out) => {
                let (length, from) = packet?;
                dialer = Some(from);
                outside.send_to(&out[..length], to).await?;
            }
            packet = outside.recv_from(&mut back) => {
                let (length, _) = packet?;
                if let Some(dialer) = dialer {
                    inside.send_to(&back[..length], dialer).await?;
                }
            }
        }
    }
}
