//! QUIC on turmoil's simulated network: the sockets and the clock of an endpoint.
//!
//! s2n-quic has a provider for turmoil of its own. Between its endpoint and its socket lies a ring of 1,024 packets,
//! and when that was filled to the last place and no packet waits, its task spins without ever giving way, so that
//! simulated time stands still. Here the endpoint's own task reads and writes the socket, and there is no ring.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use s2n_quic::provider::io::Provider;
use s2n_quic_core::endpoint::Endpoint;
use s2n_quic_core::event::EndpointPublisher;
use s2n_quic_core::inet::{SocketAddress, datagram};
use s2n_quic_core::io::event_loop::{EventLoop, Stats};
use s2n_quic_core::io::tx::{Message, PayloadBuffer};
use s2n_quic_core::io::{rx, tx};
use s2n_quic_core::path::{LocalAddress, Tuple, mtu};
use s2n_quic_core::time::{self, Timestamp};
use tokio::time::{Instant, Sleep, sleep_until};
use turmoil::net::UdpSocket;

/// Packets that are taken from the socket before the endpoint looks at them.
const BATCH: usize = 64;
/// Packets that the endpoint may send before it looks at what came.
const BURST: usize = 1024;

/// An endpoint's way to the network.
#[derive(Debug)]
pub(super) struct Simulated {
    address: SocketAddr,
    max_packet: u16,
}

impl Simulated {
    /// The socket is bound later, in a task, so nobody learns which port 0 became: simulations name ports.
    pub(super) fn new(address: SocketAddr, max_packet: u16) -> Self {
        Self { address, max_packet }
    }
}

impl Provider for Simulated {
    type PathHandle = Tuple;
    type Error = io::Error;

    fn start<E: Endpoint<PathHandle = Tuple>>(self, mut endpoint: E) -> io::Result<SocketAddress> {
        let wrong = |error: mtu::MtuError| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let mtu = mtu::Config::builder().with_max_mtu(self.max_packet).map_err(wrong)?.build().map_err(wrong)?;
        endpoint.set_mtu_config(mtu);
        tokio::spawn(async move {
            match UdpSocket::bind(self.address).await {
                Ok(socket) => run(socket, endpoint, self.max_packet).await,
                Err(error) => tracing::error!(address = %self.address, %error, "no simulated socket"),
            }
        });
        Ok(SocketAddress::default())
    }
}

async fn run<E: Endpoint<PathHandle = Tuple>>(socket: UdpSocket, endpoint: E, max_packet: u16) {
    let local: SocketAddress = socket.local_addr().map(SocketAddress::from).unwrap_or_default();
    let socket = Arc::new(socket);
    let rx = Incoming(Received { socket: socket.clone(), local: local.into(), packets: Vec::new() });
    let tx = Outgoing(Sending { socket, buffer: vec![0; max_packet.into()], left: BURST });
    let clock = Clock(Instant::now());
    EventLoop { endpoint, clock, rx, tx, cooldown: Default::default(), stats: NoStats }.start(local).await;
}

struct NoStats;

impl Stats for NoStats {
    fn publish<P: EndpointPublisher>(&mut self, _: &mut P) {}
}

struct Incoming(Received);

struct Received {
    socket: Arc<UdpSocket>,
    local: LocalAddress,
    packets: Vec<(SocketAddr, Vec<u8>)>,
}

impl Received {
    /// Takes what waits; false when nothing does.
    fn take(&mut self) -> bool {
        let mut packet = [0; 1 << 16];
        while self.packets.len() < BATCH {
            let Ok((length, from)) = self.socket.try_recv_from(&mut packet) else { break };
            self.packets.push((from, packet[..length].to_vec()));
        }
        !self.packets.is_empty()
    }
}

impl rx::Rx for Incoming {
    type PathHandle = Tuple;
    type Queue = Received;
    type Error = io::Error;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.0.take() {
            // A new future each time: the socket remembers who waits, not which future did.
            match pin!(self.0.socket.readable()).poll(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn queue<F: FnOnce(&mut Received)>(&mut self, f: F) {
        f(&mut self.0);
    }

    fn handle_error<E: EndpointPublisher>(self, error: io::Error, _: &mut E) {
        tracing::error!(%error, "a simulated socket failed");
    }
}

impl rx::Queue for Received {
    type Handle = Tuple;

    fn for_each<F: FnMut(datagram::Header<Tuple>, &mut [u8])>(&mut self, mut on_packet: F) {
        for (from, mut packet) in self.packets.drain(..) {
            let from: SocketAddress = from.into();
            let path = Tuple { remote_address: from.into(), local_address: self.local };
            on_packet(datagram::Header { path, ecn: Default::default() }, &mut packet);
        }
    }

    fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

struct Outgoing(Sending);

struct Sending {
    socket: Arc<UdpSocket>,
    buffer: Vec<u8>,
    left: usize,
}

impl tx::Tx for Outgoing {
    type PathHandle = Tuple;
    type Queue = Sending;
    type Error = io::Error;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.left > 0 {
            return Poll::Pending;
        }
        // There is more to send; first others take their turn.
        self.0.left = BURST;
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }

    fn queue<F: FnOnce(&mut Sending)>(&mut self, f: F) {
        self.0.left = BURST;
        f(&mut self.0);
    }

    fn handle_error<E: EndpointPublisher>(self, error: io::Error, _: &mut E) {
        tracing::error!(%error, "a simulated socket failed");
    }
}

impl tx::Queue for Sending {
    type Handle = Tuple;

    fn push<M: Message<Handle = Tuple>>(&mut self, mut message: M) -> Result<tx::Outcome, tx::Error> {
        if self.left == 0 {
            return Err(tx::Error::AtCapacity);
        }
        let len = message.write_payload(PayloadBuffer::new(&mut self.buffer), 0)?;
        let to: SocketAddr = message.path_handle().remote_address.0.into();
        // To a machine that does not exist it fails, which to UDP is a packet that is lost.
        let _ = self.socket.try_send_to(&self.buffer[..len], to);
        self.left -= 1;
        Ok(tx::Outcome { len, index: 0 })
    }

    fn capacity(&self) -> usize {
        self.left
    }
}

/// tokio's clock, which a simulation moves.
#[derive(Debug, Clone)]
struct Clock(Instant);

impl time::Clock for Clock {
    fn get_time(&self) -> Timestamp {
        // SAFETY: all timestamps of an endpoint are counted from the same instant.
        unsafe { Timestamp::from_duration(self.0.elapsed()) }
    }
}

impl time::ClockWithTimer for Clock {
    type Timer = Timer;

    fn timer(&self) -> Timer {
        Timer { epoch: self.0, target: None, sleep: Box::pin(sleep_until(self.0)) }
    }
}

struct Timer {
    epoch: Instant,
    target: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl time::clock::Timer for Timer {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.target.is_none() {
            return Poll::Pending;
        }
        let ready = self.sleep.as_mut().poll(cx);
        if ready.is_ready() {
            self.target = None;
        }
        ready
    }

    fn update(&mut self, at: Timestamp) {
        // SAFETY: all timestamps of an endpoint are counted from the same instant.
        let since = unsafe { at.as_duration() };
        // tokio's timers know milliseconds. Rounded up, or the endpoint would be woken before anything is due.
        let target = self.epoch + Duration::from_millis(since.as_micros().div_ceil(1_000) as u64);
        if self.target != Some(target) {
            self.sleep.as_mut().reset(target);
            self.target = Some(target);
        }
    }
}
