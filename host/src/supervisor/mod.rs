//! Keeps necessary peers connected, and remembers where peers are.
//!
//! [`ConnectionSupervisor`] is the handle; what it decides is in `state.rs`. It looks every 5 s, starts at once on
//! a disconnect, retries after Fibonacci intervals with jitter, never gives up and stops at once. Where a peer may be
//! reached is in `addresses.rs`, and what peers say of themselves in `book.rs`.

mod actor;
mod addresses;
mod book;
mod errands;
mod notes;
mod policy;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use addresses::{KnownAddress, Origin};
pub use book::BookRecord;
use book::{Book, Learned};
pub use notes::PeerPlace;
use notes::{Note, Notes};
pub use policy::{RetryPolicy, SupervisorStats};

use crate::connection::{ConnectionId, ConnectionManager, DialFailure, Level, Route};
use crate::peer::{PeerAddr, PeerId};
use crate::runtime::{Clock, Runtime};
use crate::transport::LinkError;
use crate::wire::CloseCode;

/// Commands that may wait; callers wait beyond it.
const COMMAND_QUEUE: usize = 64;
/// Peers the supervisor keeps addresses of. Each may have a dial under way.
pub const MAX_WATCHED: usize = 1024;
/// Peers whose records the address book remembers unless told otherwise. A record takes about half a KiB.
pub const DEFAULT_REMEMBERED: usize = 1024;

/// What a supervisor is started with.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// How retries are spaced.
    pub policy: RetryPolicy,
    /// Most peers whose records are remembered.
    pub remembered: usize,
    /// What was remembered before; records that do not verify or have expired are left out.
    pub records: Vec<BookRecord>,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self { policy: RetryPolicy::default(), remembered: DEFAULT_REMEMBERED, records: Vec::new() }
    }
}

/// What the supervisor needs of the network. [`ConnectionManager`] is one.
pub trait Reach: Clone + Send + Sync + 'static {
    /// Connects to a peer by the best of several addresses; ends by itself in bounded time.
    fn dial(&self, route: Route) -> impl Future<Output = Result<ConnectionId, DialFailure>> + Send;
    /// Ranks a peer.
    fn set_level(&self, peer: PeerId, level: Level) -> impl Future<Output = ()> + Send;
    /// Who has an admitted connection.
    fn connected(&self) -> impl Future<Output = Vec<PeerId>> + Send;
}

impl Reach for ConnectionManager {
    async fn dial(&self, route: Route) -> Result<ConnectionId, DialFailure> {
        ConnectionManager::dial(self, route).await
    }

    async fn set_level(&self, peer: PeerId, level: Level) {
        ConnectionManager::set_level(self, peer, level).await;
    }

    async fn connected(&self) -> Vec<PeerId> {
        self.peers().await.into_iter().map(|status| status.peer).collect()
    }
}

/// Why a peer is not watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The table is full.
    #[error("node knows {MAX_WATCHED} of {MAX_WATCHED} peers; remove one with `weir peers remove PEER_ID`")]
    TooMany,
    /// The supervisor was stopped.
    #[error("the node is stopping")]
    Stopped,
}

/// One known peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPeer {
    /// Who.
    pub peer: PeerId,
    /// Where it may be reached, in the order in which that is tried.
    pub addresses: Vec<KnownAddress>,
    /// Whether it is kept connected.
    pub necessary: bool,
    /// Whether it has an admitted connection.
    pub connected: bool,
    /// Whether a dial is under way.
    pub dialing: bool,
    /// Failures in a row.
    pub failures: u32,
    /// How long until the next attempt.
    pub next_attempt: Option<Duration>,
    /// What failed last; nothing once the peer is connected.
    pub last_error: Option<String>,
}

/// The address book, and who waits for it to change.
#[derive(Debug)]
struct SharedBook {
    book: Mutex<Book>,
    version: watch::Sender<u64>,
}

impl SharedBook {
    fn new(config: &SupervisorConfig, clock: &dyn Clock) -> Self {
        let mut book = Book::new(config.remembered);
        let now = clock.unix_ms();
        let kept = config.records.iter().filter(|record| book.restore((*record).clone(), now) == Learned::New).count();
        if kept < config.records.len() {
            let dropped = config.records.len() - kept;
            tracing::info!(kept, dropped, "remembered addresses that do not count any more are left out");
        }
        Self { book: Mutex::new(book), version: watch::Sender::new(0) }
    }

    /// Changes the book and tells whoever keeps it.
    fn edit<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let outcome = change(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
        outcome
    }

    fn addresses(&self, peer: &PeerId, now_unix_ms: u64) -> Vec<SocketAddr> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).addresses(peer, now_unix_ms)
    }

    fn records(&self, now_unix_ms: u64) -> Vec<BookRecord> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).records(now_unix_ms)
    }
}

#[derive(Debug)]
enum Command {
    Add { to: PeerAddr, necessary: bool, reply: oneshot::Sender<Result<(), WatchError>> },
    Remove { peer: PeerId, reply: oneshot::Sender<bool> },
    Peers { reply: oneshot::Sender<Vec<WatchedPeer>> },
    Stats { reply: oneshot::Sender<SupervisorStats> },
}

/// Keeps necessary peers connected; cheap to clone. Stops when [`ConnectionSupervisor::stop`] is called or the last
/// clone is dropped.
#[derive(Clone)]
pub struct ConnectionSupervisor {
    commands: mpsc::Sender<Command>,
    notes: Arc<Notes>,
    book: Arc<SharedBook>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl fmt::Debug for ConnectionSupervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSupervisor").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl ConnectionSupervisor {
    /// Starts on the current tokio runtime.
    pub fn start(reach: impl Reach, config: SupervisorConfig, runtime: &Runtime) -> Self {
        let (commands, received) = mpsc::channel(COMMAND_QUEUE);
        let (notes, stop) = (Arc::new(Notes::default()), CancellationToken::new());
        let clock = runtime.clock.clone();
        let book = Arc::new(SharedBook::new(&config, &*clock));
        let actor = actor::Actor::new(reach, config.policy, runtime.clone(), notes.clone(), book.clone());
        let until = stop.clone();
        tokio::spawn(async move {
            // Dropping the actor ends its dials too.
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                () = actor.run(received) => {}
            }
        });
        Self { commands, notes, book, clock, stop }
    }

    /// Learns an address of a peer. A necessary peer is kept connected from now on; any other is dialed once, now.
    ///
    /// # Errors
    /// When the table is full or the supervisor was stopped.
    pub async fn add(&self, to: PeerAddr, necessary: bool) -> Result<(), WatchError> {
        self.ask(|reply| Command::Add { to, necessary, reply }).await.unwrap_or(Err(WatchError::Stopped))
    }

    /// Forgets a peer and its addresses; `false` when it was not known. Its connections are left as they are.
    pub async fn remove(&self, peer: PeerId) -> bool {
        self.ask(|reply| Command::Remove { peer, reply }).await.unwrap_or(false)
    }

    /// Everybody who is known, in the order of their ids.
    pub async fn peers(&self) -> Vec<WatchedPeer> {
        self.ask(|reply| Command::Peers { reply }).await.unwrap_or_default()
    }

    /// What it counted since it started.
    pub async fn stats(&self) -> SupervisorStats {
        self.ask(|reply| Command::Stats { reply }).await.unwrap_or_default()
    }

    /// Where a peer says it may be reached, whether it is watched or not, as far as that can be right from here.
    pub fn recorded_addresses(&self, peer: &PeerId) -> Vec<SocketAddr> {
        self.book.addresses(peer, self.clock.unix_ms())
    }

    /// Everything in the address book that still counts, for keeping; works after [`ConnectionSupervisor::stop`], too.
    pub fn records(&self) -> Vec<BookRecord> {
        self.book.records(self.clock.unix_ms())
    }

    /// Changes whenever the address book may have.
    pub fn records_version(&self) -> watch::Receiver<u64> {
        self.book.version.subscribe()
    }

    /// A connection was admitted, the peer's first or a further one: this is what it told about where the peer is.
    /// Never waits.
    pub fn peer_place(&self, place: PeerPlace) {
        self.notes.place(place);
    }

    /// The peer has its first admitted connection. Never waits.
    pub fn peer_up(&self, peer: PeerId) {
        self.notes.add(peer, Note::Up);
    }

    /// The peer has lost its last connection. Never waits.
    ///
    /// An eviction counts as a failure however long the connection lived, so that two nodes do not push each other
    /// out in a loop.
    pub fn peer_down(&self, peer: PeerId, cause: &LinkError) {
        let unwanted = |code: CloseCode| matches!(code, CloseCode::Full | CloseCode::Evicted | CloseCode::Blocked);
        let refused = match cause {
            LinkError::Closed { code, .. } if unwanted(*code) => Some(cause.to_string()),
            _ => None,
        };
        self.notes.add(peer, Note::Down { refused });
    }

    /// Stops at once: no dial is started and those under way are left. May be called twice.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        if self.stop.is_cancelled() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
