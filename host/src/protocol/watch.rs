//! Tells subscribers what peers there are and what each of them gained or lost.
//!
//! A subscription keeps what it was told and which peers have changed since; the news are made when they are read. So
//! whoever changes something never waits for a subscriber, and one that does not read holds a peer's name for every
//! peer there is or that it was told of, and nothing more.
//!
//! Invariants of what is told, for every peer: `Connected` and `Gone` alternate; between them each protocol is `Gained`
//! and `Lost` in turn; everything gained is lost before `Gone`. A peer that restarted is gone and connected again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::ProtocolId;
use super::manager::{Inner, ProtocolManager, lock};
use super::state::State;
use crate::peer::PeerId;

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerNews {
    /// The peer is admitted; nothing is known of its protocols yet.
    Connected(PeerId),
    /// The peer supports the protocol, whether or not this node does.
    Gained {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
    },
    /// No longer, or it was registered anew: `Gained` follows then.
    Lost {
        /// Who.
        peer: PeerId,
        /// What.
        protocol: ProtocolId,
    },
    /// The last connection of the peer is gone, or it has restarted: `Connected` follows then.
    Gone(PeerId),
}

/// A peer at one moment: its incarnation, and the registration numbers of what it supports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub incarnation: u64,
    pub protocols: BTreeMap<ProtocolId, u64>,
}

#[derive(Debug, Default)]
struct View {
    told: BTreeMap<PeerId, Snapshot>,
    changed: BTreeSet<PeerId>,
    over: bool,
}

impl View {
    /// Something is different about the peer; `there` says whether it is connected now.
    fn changed(&mut self, peer: PeerId, there: bool) {
        if there || self.told.contains_key(&peer) {
            self.changed.insert(peer);
        } else {
            // It came and went unheard.
            self.changed.remove(&peer);
        }
    }

    /// What to tell of a peer that is like this now, or not there.
    fn catch_up(&mut self, peer: PeerId, now: Option<Snapshot>) -> VecDeque<PeerNews> {
        let mut news = VecDeque::new();
        let told = self.told.remove(&peer);
        let stays = matches!((&told, &now), (Some(told), Some(now)) if told.incarnation == now.incarnation);
        let (before, after) = (told.clone().unwrap_or_default().protocols, now.clone().unwrap_or_default().protocols);
        let kept = |id: &ProtocolId| stays && before.get(id) == after.get(id);
        news.extend(before.keys().filter(|id| !kept(id)).map(|id| PeerNews::Lost { peer, protocol: id.clone() }));
        news.extend((told.is_some() && !stays).then_some(PeerNews::Gone(peer)));
        news.extend((now.is_some() && !stays).then_some(PeerNews::Connected(peer)));
        news.extend(after.keys().filter(|id| !kept(id)).map(|id| PeerNews::Gained { peer, protocol: id.clone() }));
        if let Some(now) = now {
            self.told.insert(peer, now);
        }
        news
    }
}

#[derive(Debug, Default)]
struct Shared {
    view: Mutex<View>,
    woken: Notify,
}

/// Everybody who is told. Kept with the protocol state, and changed under its lock.
#[derive(Default)]
pub(super) struct Watchers(Vec<Weak<Shared>>);

impl Watchers {
    /// Notes that a peer came, went or changed its set.
    pub(super) fn changed(&mut self, peer: PeerId, state: &State) {
        let there = state.incarnation(&peer).is_some();
        self.0.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else { return false };
            lock(&watcher.view).changed(peer, there);
            watcher.woken.notify_one();
            true
        });
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for watcher in self.0.iter().filter_map(Weak::upgrade) {
            lock(&watcher.view).over = true;
            watcher.woken.notify_one();
        }
    }
}

/// Reads what [`ProtocolManager::subscribe`] tells; ends when it is dropped.
pub struct Subscription {
    node: Weak<Inner>,
    shared: Arc<Shared>,
    /// News of one peer, on their way to the reader.
    news: VecDeque<PeerNews>,
}

impl ProtocolManager {
    /// Tells of every connected peer and what it supports, first those that are there already. The news of one peer
    /// are in order; a subscriber that reads slowly hears what is different by then, and holds up nobody.
    ///
    /// ```
    /// use weir_host::protocol::{PeerNews, ProtocolManager};
    ///
    /// async fn log(protocols: &ProtocolManager) {
    ///     let mut news = protocols.subscribe();
    ///     while let Some(news) = news.next().await {
    ///         match news {
    ///             PeerNews::Connected(peer) => println!("{peer} is there"),
    ///             PeerNews::Gained { peer, protocol } => println!("{peer} supports {protocol}"),
    ///             PeerNews::Lost { peer, protocol } => println!("{peer} supports {protocol} no longer"),
    ///             PeerNews::Gone(peer) => println!("{peer} is gone"),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn subscribe(&self) -> Subscription {
        let shared = Arc::new(Shared::default());
        let mut core = lock(&self.inner.core);
        lock(&shared.view).changed = core.state.peers().collect();
        core.watchers.0.push(Arc::downgrade(&shared));
        Subscription { node: Arc::downgrade(&self.inner), shared, news: VecDeque::new() }
    }
}

impl Subscription {
    /// The next news; `None` when the node is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<PeerNews> {
        let shared = self.shared.clone();
        loop {
            let mut woken = pin!(shared.woken.notified());
            woken.as_mut().enable();
            while self.news.is_empty() && self.catch_up()? {}
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            woken.await;
        }
    }

    /// Makes the news of one peer that has changed; false when there is none, `None` when there will be none.
    fn catch_up(&mut self) -> Option<bool> {
        let node = self.node.upgrade().filter(|_| !lock(&self.shared.view).over)?;
        // In this order everywhere: the state, then the view.
        let core = lock(&node.core);
        let mut view = lock(&self.shared.view);
        let Some(peer) = view.changed.pop_first() else { return Some(false) };
        self.news = view.catch_up(peer, core.state.snapshot(&peer));
        Some(true)
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
