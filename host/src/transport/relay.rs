//! A router between one dialer and whom it dials, on loopback: it can lose packets, or give the dialer another address,
//! as a router does that restarts. For tests; those of whole nodes take this file in, too.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// From the dialer to the listener.
    ToListener,
    /// From the listener to the dialer.
    ToDialer,
    /// All.
    Both,
}

#[derive(Default)]
struct Lost {
    to_listener: AtomicBool,
    to_dialer: AtomicBool,
}

/// See the module. When it is dropped, nothing passes any more.
pub struct Relay {
    address: SocketAddr,
    lost: Arc<Lost>,
    outside: watch::Sender<IpAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    /// A path to `listener`.
    pub async fn start(listener: SocketAddr) -> io::Result<Self> {
        let inside = UdpSocket::bind((LOOPBACK, 0)).await?;
        let (address, lost) = (inside.local_addr()?, Arc::new(Lost::default()));
        let (outside, route) = watch::channel(LOOPBACK);
        let task = tokio::spawn(pass(inside, listener, lost.clone(), route));
        Ok(Self { address, lost, outside, task })
    }

    /// What to dial instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses everything from now on, silently.
    pub fn cut(&self, what: Cut) {
        self.lost.to_listener.store(what != Cut::ToDialer, Ordering::SeqCst);
        self.lost.to_dialer.store(what != Cut::ToListener, Ordering::SeqCst);
    }

    /// Loses nothing any more.
    pub fn heal(&self) {
        self.lost.to_listener.store(false, Ordering::SeqCst);
        self.lost.to_dialer.store(false, Ordering::SeqCst);
    }

    /// What the dialer sends comes from this address of the machine from now on.
    pub fn move_to(&self, ip: [u8; 4]) {
        self.outside.send_replace(ip.into());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    inside: UdpSocket,
    listener: SocketAddr,
    lost: Arc<Lost>,
    mut route: watch::Receiver<IpAddr>,
) -> io::Result<()> {
    let (mut from_dialer, mut from_listener) = (vec![0; 65_536], vec![0; 65_536]);
    let mut outside = UdpSocket::bind((LOOPBACK, 0)).await?;
    let mut dialer = None;
    loop {
        tokio::select! {
            biased;
            Ok(()) = route.changed() => {
                let ip = *route.borrow_and_update();
                outside = UdpSocket::bind((ip, 0)).await?;
            }
            packet = inside.recv_from(&mut from_dialer) => {
                let (length, from) = packet?;
                dialer = Some(from);
                if !lost.to_listener.load(Ordering::SeqCst) {
                    // An error is a lost packet, for instance while nobody listens.
                    outside.send_to(&from_dialer[..length], listener).await.ok();
                }
            }
            packet = outside.recv_from(&mut from_listener) => {
                let (Ok((length, _)), Some(to)) = (packet, dialer) else { continue };
                if !lost.to_dialer.load(Ordering::SeqCst) {
                    inside.send_to(&from_listener[..length], to).await.ok();
                }
            }
        }
    }
}
