//! A UDP path between one dialer and one listener that can be cut, in either direction.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

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

/// The path. When it is dropped, nothing passes any more.
pub struct Relay {
    address: SocketAddr,
    lost: Arc<Lost>,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    /// A path to `listener`, on loopback.
    pub async fn start(listener: SocketAddr) -> io::Result<Self> {
        let front = UdpSocket::bind("127.0.0.1:0").await?;
        let back = UdpSocket::bind("127.0.0.1:0").await?;
        back.connect(listener).await?;
        let (address, lost) = (front.local_addr()?, Arc::new(Lost::default()));
        let task = tokio::spawn(pass(front, back, lost.clone()));
        Ok(Self { address, lost, task })
    }

    /// What the dialer dials.
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
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(front: UdpSocket, back: UdpSocket, lost: Arc<Lost>) -> io::Result<()> {
    let (mut from_dialer, mut from_listener) = (vec![0; 65_536], vec![0; 65_536]);
    let mut dialer = None;
    loop {
        tokio::select! {
            packet = front.recv_from(&mut from_dialer) => {
                let (length, from) = packet?;
                dialer = Some(from);
                if !lost.to_listener.load(Ordering::SeqCst) {
                    // An error is a lost packet, for instance while nobody listens.
                    back.send(&from_dialer[..length]).await.ok();
                }
            }
            packet = back.recv(&mut from_listener) => {
                let (Ok(length), Some(to)) = (packet, dialer) else { continue };
                if !lost.to_dialer.load(Ordering::SeqCst) {
                    front.send_to(&from_listener[..length], to).await.ok();
                }
            }
        }
    }
}
