//! The supervisor's shell in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::runtime::{SeededEntropy, SystemClock};
use crate::wire::{AddressRecord, SignedAddressRecord};

/// A network in which nobody answers and every dial is counted.
#[derive(Clone, Default)]
struct Deaf {
    dials: Arc<AtomicUsize>,
    routes: Arc<Mutex<Vec<Vec<SocketAddr>>>>,
    levels: Arc<Mutex<Vec<Level>>>,
    there: Arc<Mutex<Vec<PeerId>>>,
    hang: bool,
    wrong: bool,
    /// So many calls of each kind break.
    breaks: usize,
    looks: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reach for Deaf {
    async fn dial(&self, route: Route) -> Result<ConnectionId, DialFailure> {
        let before = self.dials.fetch_add(1, Ordering::Relaxed);
        // A hot loop shows in the count; virtual time would stand still in it.
        if before > 100_000 {
            std::future::pending::<()>().await;
        }
        assert!(before >= self.breaks, "a dial that breaks");
        lock(&self.routes).push(route.addresses().collect());
        if self.hang {
            std::future::pending::<()>().await;
        }
        if self.wrong {
            let (expected, found) = (route.peer(), PeerId::from_bytes([7; 32]));
            let each = route.addresses().map(|address| (address, DialFailure::WrongPeer { address, expected, found }));
            return Err(DialFailure::Addresses(each.collect()));
        }
        Err(DialFailure::Refused { code: CloseCode::Full, reason: "node has 1 of 1 peers".into() })
    }

    async fn set_level(&self, _: PeerId, level: Level) {
        let before = {
            let mut levels = lock(&self.levels);
            levels.push(level);
            levels.len()
        };
        assert!(before > self.breaks, "a ranking that breaks");
    }

    async fn connected(&self) -> Vec<PeerId> {
        assert!(self.looks.fetch_add(1, Ordering::Relaxed) >= self.breaks, "a look that breaks");
        lock(&self.there).clone()
    }
}

fn runtime() -> Runtime {
    Runtime { clock: Arc::new(SystemClock), entropy: Arc::new(SeededEntropy::from_seed(1)) }
}

fn start(reach: &Deaf) -> ConnectionSupervisor {
    ConnectionSupervisor::start(reach.clone(), SupervisorConfig::default(), &runtime())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn somebody() -> PeerAddr {
    let peer = PeerId::from_bytes(key().verifying_key().to_bytes());
    PeerAddr { peer, address: SocketAddr::from(([127, 0, 0, 1], 9)) }
}

fn place(ports: &[u16]) -> PeerPlace {
    let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    let record = AddressRecord { peer: *somebody().peer.as_bytes(), sequence: 1, expires_unix_ms: u64::MAX, addresses };
    let signed = SignedAddressRecord::sign(&record, |bytes| key().sign(bytes).to_bytes());
    PeerPlace { peer: somebody().peer, seen: [127, 0, 0, 1].into(), dialed: None, record: Some((signed, record)) }
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
    let stats = supervisor.stats().await;
    assert_eq!((stats.attempts, stats.refused), (dials as u64, dials as u64));
    assert!(supervisor.remove(somebody().peer).await && !supervisor.remove(somebody().peer).await);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), dials, "a removed peer is not dialed");
    let levels = lock(&reach.levels).clone();
    assert_eq!(levels[..2], [Level::Necessary, Level::Ordinary]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_at_an_address_is_dialed_seldom_and_said() {
    let reach = Deaf { wrong: true, ..Deaf::default() };
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = reach.dials.load(Ordering::Relaxed);
    assert!((60..=90).contains(&dials), "{dials} dials in an hour");
    let error = supervisor.peers().await[0].last_error.clone().expect("said");
    assert!(error.contains("127.0.0.1:9") && error.contains(&"07".repeat(32)), "{error}");
    assert_eq!(supervisor.stats().await.wrong_key, dials as u64);
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
async fn a_stop_while_it_waits_is_the_end_of_all_dials() {
    let reach = Deaf::default();
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(600)).await;
    supervisor.stop();
    let dials = reach.dials.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), dials);
}

#[tokio::test(start_paused = true)]
async fn a_new_address_interrupts_the_longest_wait() {
    let reach = Deaf::default();
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = reach.dials.load(Ordering::Relaxed);
    let other = PeerAddr { address: SocketAddr::from(([127, 0, 0, 1], 10)), ..somebody() };
    supervisor.add(other, true).await.expect("room");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), dials + 1);
    assert_eq!(lock(&reach.routes).last(), Some(&vec![other.address, somebody().address]));
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
    lock(&reach.there).clear();
    supervisor.peer_down(somebody().peer, &LinkError::TimedOut);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(reach.dials.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_hello_told_is_dialed_after_a_loss_and_after_a_restart() {
    let reach = Deaf { there: Arc::new(Mutex::new(vec![somebody().peer])), ..Deaf::default() };
    let supervisor = start(&reach);
    let version = supervisor.records_version();
    supervisor.peer_place(place(&[9, 77]));
    supervisor.peer_up(somebody().peer);
    tokio::time::sleep(Duration::from_millis(1)).await;
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(version.has_changed().expect("open"));
    let sources: Vec<_> = supervisor.peers().await[0].addresses.iter().map(|known| known.source).collect();
    assert_eq!(sources, [Origin::Operator, Origin::Record]);
    lock(&reach.there).clear();
    supervisor.peer_down(somebody().peer, &LinkError::TimedOut);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let both = vec![somebody().address, SocketAddr::from(([127, 0, 0, 1], 77))];
    assert_eq!(lock(&reach.routes).last(), Some(&both));
    supervisor.stop();
    let records = supervisor.records();
    assert_eq!(records.len(), 1);
    let (again, config) = (Deaf::default(), SupervisorConfig { records, ..SupervisorConfig::default() });
    let supervisor = ConnectionSupervisor::start(again.clone(), config, &runtime());
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lock(&again.routes)[0], both);
    assert!(supervisor.remove(somebody().peer).await);
    assert!(supervisor.recorded_addresses(&somebody().peer).is_empty(), "forgotten with the peer");
}

#[tokio::test(start_paused = true)]
async fn a_fast_connect_and_close_is_one_failure_and_no_connection() {
    let reach = Deaf { hang: true, ..Deaf::default() };
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    supervisor.peer_up(somebody().peer);
    supervisor.peer_down(somebody().peer, &LinkError::Closed { code: CloseCode::Evicted, local: false });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let known = supervisor.peers().await;
    assert!(!known[0].connected && known[0].failures == 1, "{known:?}");
    let stats = supervisor.stats().await;
    assert_eq!((stats.evicted, stats.short_lived), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_done_again_and_not_in_a_hot_loop() {
    let reach = Deaf { breaks: 3, there: Arc::new(Mutex::new(vec![PeerId::from_bytes([3; 32])])), ..Deaf::default() };
    let supervisor = start(&reach);
    supervisor.add(somebody(), true).await.expect("room");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = reach.dials.load(Ordering::Relaxed);
    assert!((60..=90).contains(&dials), "{dials} dials in an hour");
    assert_eq!(supervisor.stats().await.broken, 3);
    let levels = lock(&reach.levels).clone();
    assert_eq!(levels, [Level::Necessary; 4], "ranked until it did not break");
    let looks = reach.looks.load(Ordering::Relaxed);
    assert!((700..=721).contains(&looks), "{looks} looks in an hour");
}
