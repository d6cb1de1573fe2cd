//! A node's place on the network: one endpoint that listens, and up to two that dial.
//!
//! s2n-quic cannot dial from the socket it listens on. A peer's source port is therefore not where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use s2n_quic::Client;
use s2n_quic::client::Connect;
use s2n_quic::connection;
use s2n_quic::provider::limits::Limits;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::Access;
use super::admission::SharedDoors;
use super::dials::{DialTicket, Dials};
use super::door::DoorCounts;
use super::error::{BindError, DialError};
use super::incoming::{self, Incoming};
use super::link::{Direction, Link};
use super::pending::{Pending, PendingHandshakes};
use super::start::{self, Endpoint, StartError};
use super::tls;
use super::windows::StreamLimits;
use crate::identity::NodeKey;
use crate::peer::{PeerAddr, PeerId};
use crate::wire::CloseCode;

/// Which network the endpoints are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Io {
    /// The machine's.
    #[default]
    Udp,
    /// turmoil's, for whole nodes in a simulation. The port to listen on must be named.
    #[cfg(feature = "simulation")]
    Simulated,
}

/// How a node takes part in the network.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Who the node is.
    pub key: Arc<NodeKey>,
    /// Where it listens. Port 0 lets the system choose; [`Transport::local_address`] says what it chose.
    pub listen: SocketAddr,
    /// What each connection may use.
    pub limits: StreamLimits,
    /// After how long without a packet from the peer a connection is given up; the smaller of both sides' counts.
    /// Default 30 s.
    pub idle_timeout: Duration,
    /// How often something is sent on an idle connection, so that neither side nor a middlebox forgets it. At most
    /// half of `idle_timeout`. Default 10 s.
    pub keep_alive: Duration,
    /// How long a handshake may take, of either direction. Default 10 s.
    pub handshake_timeout: Duration,
    /// How many handshakes of peers that dial may be under way. From half of them on (or 64) peers must prove their
    /// address first, beyond them they are left unanswered until there is room. Default 32.
    pub max_pending_handshakes: u32,
    /// How many of them may come from one [`Source`](super::Source). From half of them on the source must prove its
    /// address, because others may forge it; beyond them it is left unanswered. Default 16.
    pub max_pending_per_source: u32,
    /// Whether peers on this machine count as a source, too. Default false: they are no strangers.
    pub limit_loopback: bool,
    /// Whom to keep out, looked at before each handshake as far as the address suffices.
    pub access: Access,
    /// Which network.
    pub io: Io,
}

impl TransportConfig {
    /// The defaults, on the machine's network.
    pub fn new(key: Arc<NodeKey>, listen: SocketAddr) -> Self {
        Self {
            key,
            listen,
            limits: StreamLimits::default(),
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            max_pending_handshakes: 32,
            max_pending_per_source: 16,
            limit_loopback: false,
            access: Access::default(),
            io: Io::Udp,
        }
    }

    fn check(&self) -> Result<(), BindError> {
        if self.keep_alive > self.idle_timeout / 2 {
            return Err(BindError::KeepAlive { keep_alive: self.keep_alive, idle_timeout: self.idle_timeout });
        }
        if self.max_pending_handshakes.min(self.max_pending_per_source) == 0 {
            Err(BindError::NoHandshakes)
        } else {
            Ok(())
        }
    }
}

/// A node's endpoints; cheap to clone.
///
/// When the last clone is dropped, nothing new is accepted or dialed; links that exist live on. [`Self::close`]
/// also waits for the farewells to be sent.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use weir_host::{identity::NodeKey, runtime::SeededEntropy, transport::{Transport, TransportConfig}};
///
/// let key = Arc::new(NodeKey::generate(&SeededEntropy::from_system()?));
/// let (transport, mut incoming) = Transport::bind(TransportConfig::new(key, "0.0.0.0:0".parse()?))?;
/// println!("listening on {}", transport.local_address());
/// while let Some(link) = incoming.accept().await {
///     println!("{} dialed", link.peer);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    own: PeerId,
    local_address: SocketAddr,
    handshake_timeout: Duration,
    io: Io,
    tls: Arc<ClientConfig>,
    limits: Limits,
    dials: Dials,
    access: Access,
    pending: Pending,
    doors: SharedDoors,
    moved: Arc<Notify>,
    sockets: Mutex<Sockets>,
    closing: CancellationToken,
    _close_on_drop: DropGuard,
}

/// What is closed at the end.
#[derive(Default)]
struct Sockets {
    /// Started by the first dial to an IPv4 address.
    v4: Option<Client>,
    /// Started by the first dial to an IPv6 address.
    v6: Option<Client>,
    /// All endpoints that run.
    endpoints: Vec<Endpoint>,
}

impl Transport {
    /// Starts to listen. Must be called on a tokio runtime, which then runs the endpoints.
    ///
    /// # Errors
    /// When the address cannot be had or the configuration makes no sense; the text says what to change.
    pub fn bind(config: TransportConfig) -> Result<(Self, Incoming), BindError> {
        config.check()?;
        let at = BindError::at(config.listen);
        let limits = start::limits(&config, &config.limits.windows()?).map_err(&at)?;
        let dials = Dials::default();
        let of_tls = |error: rustls::Error| at(StartError::Endpoint(error.to_string()));
        let client_tls = tls::client(&config.key, dials.clone()).map_err(of_tls)?;
        let server_tls = tls::server(&config.key).map_err(of_tls)?;
        let (pending, doors, moved) = (Pending::default(), SharedDoors::new(), Arc::new(Notify::new()));
        let (server, endpoint) =
            start::server(&config, server_tls, limits, pending.clone(), doors.clone(), moved.clone()).map_err(&at)?;
        let closing = CancellationToken::new();
        let incoming = incoming::start(server, doors.clone(), closing.clone());
        let inner = Inner {
            own: config.key.peer_id(),
            local_address: endpoint.address(),
            handshake_timeout: config.handshake_timeout,
            io: config.io,
            tls: Arc::new(client_tls),
            limits,
            dials,
            access: config.access,
            pending,
            doors,
            moved,
            sockets: Mutex::new(Sockets { endpoints: vec![endpoint], ..Sockets::default() }),
            closing: closing.clone(),
            _close_on_drop: closing.drop_guard(),
        };
        Ok((Self(Arc::new(inner)), incoming))
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.0.own
    }

    /// Where the node listens, with the port the system chose.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local_address
    }

    /// Whom the listening endpoint keeps out.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// Handshakes of peers that dial, as of now.
    pub fn pending_handshakes(&self) -> PendingHandshakes {
        self.0.pending.summary()
    }

    /// What became of all who wanted to begin a handshake.
    pub fn door_counts(&self) -> DoorCounts {
        self.0.doors.counts()
    }

    /// Waits until the packets of some peer that dialed come from another address than before;
    /// [`LinkHandle::remote_address`](super::LinkHandle::remote_address) of its link then says from where. What happens
    /// while nobody waits is told at once to who waits next. Cancel safe; for one caller.
    pub async fn moved(&self) {
        self.0.moved.notified().await;
    }

    /// Connects to a peer at an address, within the handshake's deadline. Cancel safe: a dropped dial is given up.
    ///
    /// The peer has proven its key when this returns; it may still refuse ours, and the link then closes.
    ///
    /// # Errors
    /// See [`DialError`]; every text names the address.
    pub async fn dial(&self, to: PeerAddr) -> Result<Link, DialError> {
        check(to, &self.0.own)?;
        let client = self.client(to)?;
        let ticket = self.0.dials.begin(to.peer);
        let attempt = client.connect(Connect::new(to.address).with_server_name(ticket.server_name()));
        let outcome = tokio::select! {
            biased;
            () = self.0.closing.cancelled() => return Err(DialError::Closing),
            outcome = tokio::time::timeout(self.0.handshake_timeout, attempt) => outcome,
        };
        match outcome {
            Ok(Ok(connection)) => expected(to, incoming::authenticated(connection, Direction::Outbound)),
            Ok(Err(error)) => Err(self.explain(to, &ticket, error)),
            Err(_) => Err(DialError::Timeout { to, after: self.0.handshake_timeout }),
        }
    }

    /// Dials under way.
    #[cfg(test)]
    pub(crate) fn dials(&self) -> usize {
        self.0.dials.count()
    }

    /// Accepts and dials nothing more, and waits until every endpoint has ended: its connections are closed, which
    /// is left to their owners, and their CONNECTION_CLOSE is sent, and sent again to who missed it, for three
    /// probe timeouts. `false` when `deadline` passes first, which on a simulated network it does.
    pub async fn close(&self, deadline: Duration) -> bool {
        self.0.closing.cancel();
        let sockets = std::mem::take(&mut *self.0.sockets());
        drop((sockets.v4, sockets.v6));
        let all = async {
            for endpoint in sockets.endpoints {
                endpoint.ended().await;
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    /// The endpoint for addresses of this family; started when first needed, because a machine may have no IPv6.
    fn client(&self, to: PeerAddr) -> Result<Client, DialError> {
        let mut sockets = self.0.sockets();
        // Under the lock, so that `close` never misses an endpoint.
        if self.0.closing.is_cancelled() {
            return Err(DialError::Closing);
        }
        let Sockets { v4, v6, endpoints } = &mut *sockets;
        let slot = if to.address.is_ipv4() { v4 } else { v6 };
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let (client, endpoint) = start::client(self.0.io, to.address, self.0.tls.clone(), self.0.limits)
            .map_err(|error| DialError::Socket { to, reason: error.to_string() })?;
        endpoints.push(endpoint);
        Ok(slot.insert(client).clone())
    }

    fn explain(&self, to: PeerAddr, ticket: &DialTicket, error: connection::Error) -> DialError {
        use connection::Error;
        match (ticket.found(), error) {
            (Some(found), _) if found != to.peer => {
                DialError::WrongPeer { expected: to.peer, found, address: to.address }
            }
            (_, Error::MaxHandshakeDurationExceeded { .. } | Error::IdleTimerExpired { .. }) => {
                DialError::Timeout { to, after: self.0.handshake_timeout }
            }
            (_, Error::Transport { code, .. }) if code.as_u64() == NO_COMMON_PROTOCOL => {
                let reason = "what listens there speaks QUIC but not this version of Weir's protocol".into();
                DialError::Refused { to, reason }
            }
            (_, error) => DialError::Refused { to, reason: error.to_string() },
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({:?} on {})", self.0.own, self.0.local_address)
    }
}

impl Inner {
    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TLS alert 120, no_application_protocol, as QUIC carries it (RFC 9001, 4.8).
const NO_COMMON_PROTOCOL: u64 = 0x0178;

/// Finds what is wrong with an address before a packet is sent.
fn check(to: PeerAddr, own: &PeerId) -> Result<(), DialError> {
    let ip = to.address.ip();
    if to.peer == *own {
        Err(DialError::OwnId(to))
    } else if to.address.port() == 0 {
        Err(DialError::Address { to, reason: "port 0 is not where anybody listens" })
    } else if ip.is_unspecified() || ip.is_multicast() {
        Err(DialError::Address { to, reason: "it is the address of no single machine" })
    } else {
        Ok(())
    }
}

/// The verifier has compared the keys before; here the one that signed is compared, whatever the verifier did.
fn expected(to: PeerAddr, link: Option<Link>) -> Result<Link, DialError> {
    match link {
        Some(link) if link.peer == to.peer => Ok(link),
        Some(link) => {
            link.handle.close(CloseCode::WrongPeer);
            Err(DialError::WrongPeer { expected: to.peer, found: link.peer, address: to.address })
        }
        None => Err(DialError::Refused { to, reason: "it proved no key".into() }),
    }
}
