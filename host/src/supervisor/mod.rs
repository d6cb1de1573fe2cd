//! Keeps necessary peers connected.
//!
//! [`ConnectionSupervisor`] is the handle; what it decides is in `state.rs`. It looks every 5 s, starts at once on
//! a disconnect, retries after Fibonacci intervals with jitter, never gives up and stops at once.

mod actor;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use state::RetryPolicy;

use crate::connection::{ConnectionId, ConnectionManager, DialFailure, Level};
use crate::peer::{PeerAddr, PeerId};
use crate::runtime::Entropy;
use crate::transport::LinkError;
use crate::wire::CloseCode;

/// Commands that may wait; callers wait beyond it.
const COMMAND_QUEUE: usize = 64;
/// Peers the supervisor keeps addresses of. Each may have a dial under way.
pub const MAX_WATCHED: usize = 1024;

/// What the supervisor needs of the network. [`ConnectionManager`] is one.
pub trait Reach: Clone + Send + Sync + 'static {
    /// Connects to a peer; ends by itself in bounded time.
    fn dial(&self, to: PeerAddr) -> impl Future<Output = Result<ConnectionId, DialFailure>> + Send;
    /// Ranks a peer.
    fn set_level(&self, peer: PeerId, level: Level) -> impl Future<Output = ()> + Send;
    /// Who has an admitted connection.
    fn connected(&self) -> impl Future<Output = Vec<PeerId>> + Send;
}

impl Reach for ConnectionManager {
    async fn dial(&self, to: PeerAddr) -> Result<ConnectionId, DialFailure> {
        ConnectionManager::dial(self, to).await
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
    /// Where it may be reached; the one learned last is first.
    pub addresses: Vec<SocketAddr>,
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

/// The last news of a peer that the actor has not taken yet.
#[derive(Debug, Clone)]
enum Note {
    Up,
    Down {
        refused: Option<String>,
    },
    /// Down, and up again.
    Again,
}

/// Notifications, coalesced to one per peer; as many as peers come and go between two looks of the actor, which
/// never waits for anybody.
#[derive(Debug, Default)]
struct Notes {
    waiting: Mutex<BTreeMap<PeerId, Note>>,
    more: Notify,
}

impl Notes {
    fn add(&self, peer: PeerId, note: Note) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let note = match (waiting.remove(&peer), note) {
            (Some(Note::Down { .. } | Note::Again), Note::Up) => Note::Again,
            (_, note) => note,
        };
        waiting.insert(peer, note);
        drop(waiting);
        self.more.notify_one();
    }

    fn take(&self) -> BTreeMap<PeerId, Note> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
enum Command {
    Add { to: PeerAddr, necessary: bool, reply: oneshot::Sender<Result<(), WatchError>> },
    Remove { peer: PeerId, reply: oneshot::Sender<bool> },
    Peers { reply: oneshot::Sender<Vec<WatchedPeer>> },
}

/// Keeps necessary peers connected; cheap to clone. Stops when [`ConnectionSupervisor::stop`] is called or the last
/// clone is dropped.
#[derive(Debug, Clone)]
pub struct ConnectionSupervisor {
    commands: mpsc::Sender<Command>,
    notes: Arc<Notes>,
    stop: CancellationToken,
}

impl ConnectionSupervisor {
    /// Starts on the current tokio runtime.
    pub fn start(reach: impl Reach, policy: RetryPolicy, entropy: Arc<dyn Entropy>) -> Self {
        let (commands, received) = mpsc::channel(COMMAND_QUEUE);
        let (notes, stop) = (Arc::new(Notes::default()), CancellationToken::new());
        let actor = actor::Actor::new(reach, policy, entropy, notes.clone());
        let until = stop.clone();
        tokio::spawn(async move {
            // Dropping the actor ends its dials too.
            tokio::select! {
                biased;
                () = until.cancelled() => {}
                () = actor.run(received) => {}
            }
        });
        Self { commands, notes, stop }
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
