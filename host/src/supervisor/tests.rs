//! The supervisor's shell in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::runtime::SeededEntropy;

/// A network in which nobody answers and every dial is counted.
#[derive(Clone, Default)]
struct Deaf {
    dials: Arc<AtomicUsize>,
    levels: Arc<Mutex<Vec<Level>>>,
    there: Arc<Mutex<Vec<PeerId>>>,
    hang: bool,
}

impl Reach for Deaf {
    async fn dial(&self, _: PeerAddr) -> Result<ConnectionId, DialFailure> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        if self.hang {
            std::future::pending::<()>().await;
        }
        Err(DialFailure::Refused { code: CloseCode::Full, reason: "node has 1 of 1 peers".into() })
    }

    async fn set_level(&self, _: PeerId, level: Level) {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).push(level);
    }

    async fn connected(&self) -> Vec<PeerId> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn start(reach: &Deaf) -> ConnectionSupervisor {
    ConnectionSupervisor::start(reach.clone(), RetryPolicy::default(), Arc::new(SeededEntropy::from_seed(1)))
}

fn somebody() -> PeerAddr {
    PeerAddr { peer: PeerId::from_bytes([9; 32]), address: SocketAddr::from(([127, 0, 0, 1], 9)) }
}

#[tokio::test(start_paused = true)]
async fn a_full_peer_is_retried_for_ever_but_seldom_and_its_words_are_kept() {
    let reach = Deaf::default();
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = reach.dials.load(Ordering::Relaxed);
    assert!((60..=90).contains(&dials), "{dials} dials in an hour");
    let known = supervisor.peers().await;
    assert!(known[0].last_error.as_ref().is_some_and(|text| text.contains("1 of 1 peers")), "{known:?}");
    assert!(known[0].necessary && known[0].next_attempt.is_some());
    assert!(supervisor.remove(somebody().peer).await && !supervisor.remove(somebody().peer).await);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), dials, "a removed peer is not dialed");
    let levels = reach.levels.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(levels[..2], [Level::Necessary, Level::Ordinary]);
}

#[tokio::test(start_paused = true)]
async fn stop_is_at_once_and_twice_is_once() {
    let reach = Deaf { hang: true, ..Deaf::default() };
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    assert!(supervisor.peers().await[0].dialing);
    supervisor.stop();
    supervisor.stop();
    assert_eq!(supervisor.add(somebody(), true).await, Err(WatchError::Stopped));
    assert!(supervisor.peers().await.is_empty());
    supervisor.peer_up(somebody().peer);
    supervisor.peer_down(somebody().peer, &LinkError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_of_a_settled_peer_is_dialed_at_once() {
    let reach = Deaf { there: Arc::new(Mutex::new(vec![somebody().peer])), ..Deaf::default() };
    let supervisor = start(&reach);
    supervisor.peer_up(somebody().peer);
    // Virtual: passes when everything that can run has run. The peer settles meanwhile.
    tokio::time::sleep(Duration::from_secs(60)).await;
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), 0, "it is connected");
    reach.there.lock().unwrap_or_else(PoisonError::into_inner).clear();
    supervisor.peer_down(somebody().peer, &LinkError::TimedOut);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(reach.dials.load(Ordering::Relaxed), 0);
}
