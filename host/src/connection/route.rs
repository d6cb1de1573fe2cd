//! Dials several addresses of one peer: the first handshake that succeeds wins, all others are given up.
//!
//! After RFC 8305: addresses are started in order, each some time after the one before or as soon as that has failed,
//! so that a silent address costs a moment and not its timeout. For the rest of the node it is one dial.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::DialFailure;
use super::limits::{MAX_RACE, NEXT_ADDRESS};
use crate::peer::{PeerAddr, PeerId};

/// Where to dial a peer: addresses in the order in which they are tried.
///
/// ```
/// use weir_host::{connection::Route, peer::PeerId};
///
/// let peer = PeerId::from_bytes([7; 32]);
/// let route = Route::new(peer, ["192.0.2.7:4433".parse().unwrap(), "[2001:db8::7]:4433".parse().unwrap()]);
/// let (route, more) = route.open();
/// more.try_send("198.51.100.7:4433".parse().unwrap()).unwrap();
/// # let _ = route;
/// ```
#[derive(Debug)]
pub struct Route {
    pub(super) peer: PeerId,
    queue: VecDeque<SocketAddr>,
    more: Option<mpsc::Receiver<SocketAddr>>,
    next_after: Duration,
}

impl Route {
    /// The addresses in order; the 65th and further ones are not tried.
    pub fn new(peer: PeerId, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let queue = addresses.into_iter().take(MAX_RACE).collect();
        Self { peer, queue, more: None, next_after: NEXT_ADDRESS }
    }

    /// Takes more addresses while the dial is under way: each is started at once. One that comes when the dial has
    /// ended is not taken; [`DialFailure::Addresses`], with which an open route always fails, names those that were.
    pub fn open(mut self) -> (Self, mpsc::Sender<SocketAddr>) {
        let (sender, more) = mpsc::channel(MAX_RACE);
        self.more = Some(more);
        (self, sender)
    }

    /// How long an address is given before the next one is started beside it; 250 ms unless said otherwise.
    pub fn next_after(mut self, delay: Duration) -> Self {
        self.next_after = delay;
        self
    }

    /// Who is dialed.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// What is tried, in order, as far as it is known now.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.queue.iter().copied()
    }

    /// The next address that is there: what came later is the newest, and goes first.
    fn take(&mut self) -> Option<SocketAddr> {
        let newest = self.more.as_mut().and_then(|more| more.try_recv().ok());
        newest.or_else(|| self.queue.pop_front())
    }

    /// The next address that somebody adds. Cancel safe.
    async fn added(&mut self) -> SocketAddr {
        if let Some(more) = &mut self.more
            && let Some(address) = more.recv().await
        {
            return address;
        }
        pending().await
    }
}

impl From<PeerAddr> for Route {
    fn from(to: PeerAddr) -> Self {
        Self::new(to.peer, [to.address])
    }
}

/// One dial of several addresses under way. Dropping it gives all of them up.
struct Race<T> {
    dials: JoinSet<Result<T, DialFailure>>,
    names: HashMap<Id, SocketAddr>,
    started: usize,
    failed: Vec<(SocketAddr, DialFailure)>,
}

/// Dials until one succeeds or all that are known have failed. Cancel safe: dropped, it gives up.
pub(super) async fn race<T, F>(mut route: Route, dial: impl Fn(PeerAddr) -> F + Send) -> Result<T, DialFailure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DialFailure>> + Send + 'static,
{
    let mut race = Race { dials: JoinSet::new(), names: HashMap::new(), started: 0, failed: Vec::new() };
    let is_open = route.more.is_some();
    let mut next = Instant::now();
    loop {
        let may_start = race.started < MAX_RACE;
        if race.dials.is_empty() {
            let Some(address) = route.take().filter(|_| may_start) else { return Err(race.lost(is_open)) };
            race.start(&dial, PeerAddr { peer: route.peer, address });
            next = Instant::now() + route.next_after;
            continue;
        }
        let due = may_start && !route.queue.is_empty();
        tokio::select! {
            biased;
            Some(done) = race.dials.join_next_with_id() => {
                if let Some(outcome) = race.ended(done) {
                    return outcome;
                }
                next = Instant::now();
            }
            address = route.added(), if may_start => race.start(&dial, PeerAddr { peer: route.peer, address }),
            () = sleep_until(next), if due => {
                if let Some(address) = route.take() {
                    race.start(&dial, PeerAddr { peer: route.peer, address });
                }
                next = Instant::now() + route.next_after;
            }
        }
    }
}

impl<T: Send + 'static> Race<T> {
    fn start<F>(&mut self, dial: &impl Fn(PeerAddr) -> F, to: PeerAddr)
    where
        F: Future<Output = Result<T, DialFailure>> + Send + 'static,
    {
        tracing::debug!(%to, "dialing");
        let task = self.dials.spawn(dial(to).in_current_span());
        self.names.insert(task.id(), to.address);
        self.started += 1;
    }

    /// What the race comes to, if this dial decides it.
    fn ended(&mut self, done: Result<(Id, Result<T, DialFailure>), JoinError>) -> Option<Result<T, DialFailure>> {
        let (id, failure) = match done {
            Ok((_, Ok(link))) => return Some(Ok(link)),
            Ok((_, Err(DialFailure::Stopping))) => return Some(Err(DialFailure::Stopping)),
            Ok((id, Err(failure))) => (id, failure),
            Err(error) => (error.id(), DialFailure::Handshake(error.to_string())),
        };
        if let Some(address) = self.names.remove(&id) {
            tracing::debug!(%address, %failure, "an address did not lead to the peer");
            self.failed.push((address, failure));
        }
        None
    }

    fn lost(mut self, is_open: bool) -> DialFailure {
        match self.failed.pop() {
            Some((_, failure)) if self.failed.is_empty() && !is_open => failure,
            last => DialFailure::Addresses(self.failed.into_iter().chain(last).collect()),
        }
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
