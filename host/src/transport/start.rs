//! Starts s2n-quic endpoints, on the machine's network or on a simulated one, and ends them.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use s2n_quic::provider::io as provider;
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::rustls as tls_provider;
use s2n_quic::{Client, Server};
use tokio::sync::{Notify, oneshot};

use super::admission::{Door, Rules, SharedDoors, TokenDoor};
use super::door::PendingLimits;
use super::endpoint::{Io, TransportConfig};
use super::events::Listener;
use super::pending::Pending;
#[cfg(feature = "simulation")]
use super::simulated::Simulated;
use super::windows::{MAX_PACKET, Windows};

/// How often an endpoint that should end is woken so that it notices.
const NUDGE_EVERY: Duration = Duration::from_millis(20);

/// One running endpoint, as far as ending it goes. s2n-quic runs it in a task of its own.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    ended: oneshot::Receiver<()>,
    io: Io,
}

impl Endpoint {
    /// Where it sends from.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the endpoint has sent what it had to send for every connection and has ended. It does so once
    /// its `Server` or all clones of its `Client` are dropped and the last connection is closed; the caller sets
    /// the deadline.
    pub(super) async fn ended(mut self) {
        // s2n-quic looks for dropped handles only when something wakes the endpoint's task, and on an idle endpoint
        // nothing does: a datagram that means nothing is the one way in.
        while tokio::time::timeout(NUDGE_EVERY, &mut self.ended).await.is_err() {
            match self.io {
                Io::Udp => nudge(self.address),
                #[cfg(feature = "simulation")]
                Io::Simulated => {}
            }
        }
    }
}

/// Where to listen fails for reasons a person can act on; everything else is a wrong value in the configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Endpoint(String),
}

/// Starts the endpoint that listens.
pub(super) fn server(
    config: &TransportConfig,
    tls: ServerConfig,
    limits: Limits,
    pending: Pending,
    doors: SharedDoors,
    moved: Arc<Notify>,
) -> Result<(Server, Endpoint), StartError> {
    let (listener, ended) = Listener::new(pending.clone(), moved);
    let all = config.max_pending_handshakes;
    let (per_source, loopback) = (config.max_pending_per_source, config.limit_loopback);
    let limits_of_doors = PendingLimits { all, per_source, loopback };
    let rules = Rules { pending, limits: limits_of_doors, access: config.access.clone(), doors };
    let doors = (Door::new(rules.clone()), TokenDoor(rules));
    let tls = tls_provider::Server::from(tls);
    let (server, address) = match config.io {
        Io::Udp => {
            let (io, address) = udp(config.listen)?;
            (server_on(io, tls, limits, doors, listener)?, address)
        }
        #[cfg(feature = "simulation")]
        Io::Simulated => (server_on(simulated(config.listen), tls, limits, doors, listener)?, config.listen),
    };
    Ok((server, Endpoint { address, ended, io: config.io }))
}

/// Starts an endpoint that dials, on a port the system chooses, for addresses of the family of `to`.
pub(super) fn client(
    io: Io,
    to: SocketAddr,
    tls: Arc<ClientConfig>,
    limits: Limits,
) -> Result<(Client, Endpoint), StartError> {
    let any = SocketAddr::new(unspecified(to), 0);
    let (listener, ended) = Listener::new(Pending::default(), Arc::default());
    let tls = tls_provider::Client::from(tls);
    let (client, address) = match io {
        Io::Udp => {
            let (io, address) = udp(any)?;
            (client_on(io, tls, limits, listener)?, address)
        }
        #[cfg(feature = "simulation")]
        Io::Simulated => (client_on(simulated(any), tls, limits, listener)?, any),
    };
    Ok((client, Endpoint { address, ended, io }))
}

fn server_on(
    io: impl provider::TryInto,
    tls: tls_provider::Server,
    limits: Limits,
    (door, tokens): (Door, TokenDoor),
    listener: Listener,
) -> Result<Server, StartError> {
    Server::builder()
        .with_io(io)
        .map_err(wrong)?
        .with_tls(tls)
        .map_err(wrong)?
        .with_limits(limits)
        .map_err(wrong)?
        .with_endpoint_limits(door)
        .map_err(wrong)?
        .with_address_token(tokens)
        .map_err(wrong)?
        .with_event(listener)
        .map_err(wrong)?
        .start()
        .map_err(wrong)
}

fn client_on(
    io: impl provider::TryInto,
    tls: tls_provider::Client,
    limits: Limits,
    listener: Listener,
) -> Result<Client, StartError> {
    Client::builder()
        .with_io(io)
        .map_err(wrong)?
        .with_tls(tls)
        .map_err(wrong)?
        .with_limits(limits)
        .map_err(wrong)?
        .with_event(listener)
        .map_err(wrong)?
        .start()
        .map_err(wrong)
}

fn wrong(error: impl Display) -> StartError {
    StartError::Endpoint(error.to_string())
}

/// The socket is bound here and not by s2n-quic, which would lose the kind of the error and, with port 0, the port.
fn udp(address: SocketAddr) -> io::Result<(provider::tokio::Provider, SocketAddr)> {
    let socket = UdpSocket::bind(address)?;
    let address = socket.local_addr()?;
    let io = provider::tokio::Provider::builder().with_rx_socket(socket)?.with_max_mtu(MAX_PACKET)?.build()?;
    Ok((io, address))
}

/// turmoil binds to all addresses of a machine or to none, so of the address only the family and the port count.
#[cfg(feature = "simulation")]
fn simulated(address: SocketAddr) -> Simulated {
    Simulated::new(SocketAddr::new(unspecified(address), address.port()), MAX_PACKET)
}

/// QUIC's limits for both kinds of endpoint.
pub(super) fn limits(config: &TransportConfig, windows: &Windows) -> Result<Limits, StartError> {
    let streams = config.limits.max_streams.into();
    let build = || {
        Limits::new()
            .with_data_window(windows.connection.into())?
            .with_unidirectional_data_window(windows.stream.into())?
            .with_bidirectional_local_data_window(windows.control.into())?
            .with_bidirectional_remote_data_window(windows.control.into())?
            .with_max_open_remote_unidirectional_streams(windows.streams)?
            .with_max_open_local_unidirectional_streams(streams)?
            // The control stream is the only one that goes both ways.
            .with_max_open_remote_bidirectional_streams(1)?
            .with_max_open_local_bidirectional_streams(1)?
            .with_max_send_buffer_size(windows.send_threshold)?
            .with_max_handshake_duration(config.handshake_timeout)?
            .with_max_idle_timeout(config.idle_timeout)?
            .with_max_keep_alive_period(config.keep_alive)
    };
    build().map_err(wrong)
}

fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Sends one byte, which is no QUIC packet and is dropped. Should it fail, the next one may not.
fn nudge(address: SocketAddr) {
    let loopback: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let ip = if address.ip().is_unspecified() { loopback } else { address.ip() };
    let to = SocketAddr::new(ip, address.port());
    let _ = UdpSocket::bind(SocketAddr::new(unspecified(to), 0)).and_then(|socket| socket.send_to(&[0], to));
}
