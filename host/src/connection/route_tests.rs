//! The race in virtual time, and what a lost one leaves behind on a real transport.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::connection::{ConnectionConfig, ConnectionManager, LocalHello};
use crate::runtime::Runtime;
use crate::transport::TransportConfig;
use crate::transport::testing::{TestNode, config, soon};
use crate::wire::ProtocolEntry;

/// What a dial of each port comes to: after how many milliseconds, and whether it succeeds; no entry is silence.
type World = HashMap<u16, (u64, bool)>;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn route(ports: impl IntoIterator<Item = u16>) -> Route {
    Route::new(PeerId::from_bytes([1; 32]), ports.into_iter().map(at))
}

/// Counts itself while it lives.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct Dialer {
    world: Arc<World>,
    /// Who was dialed, and when in milliseconds.
    started: Arc<Mutex<Vec<(u16, u128)>>>,
    alive: Arc<AtomicUsize>,
}

impl Dialer {
    fn new(world: impl IntoIterator<Item = (u16, (u64, bool))>) -> Self {
        Self { world: Arc::new(world.into_iter().collect()), ..Self::default() }
    }

    async fn run(&self, route: Route) -> Result<u16, DialFailure> {
        let (dialer, begin) = (self.clone(), Instant::now());
        let race = race(route, move |to: PeerAddr| {
            let port = to.address.port();
            dialer.started.lock().expect("lock").push((port, begin.elapsed().as_millis()));
            dialer.alive.fetch_add(1, Ordering::SeqCst);
            let (guard, fate) = (Guard(dialer.alive.clone()), dialer.world.get(&port).copied());
            async move {
                let _guard = guard;
                let Some((ms, good)) = fate else { return pending().await };
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if good { Ok(port) } else { Err(DialFailure::Timeout) }
            }
        });
        // Virtual: longer than any of these races.
        tokio::time::timeout(Duration::from_secs(600), race).await.expect("a race ends")
    }

    fn started(&self) -> Vec<(u16, u128)> {
        self.started.lock().expect("lock").clone()
    }

    /// Aborted tasks are dropped by the runtime, soon.
    async fn until_nothing_is_left(&self) {
        let gone = async {
            while self.alive.load(Ordering::SeqCst) > 0 {
                // Virtual: passes when everything that can run has run.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("every dial is given up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_costs_the_delay_and_not_its_timeout() {
    let dialer = Dialer::new([(2, (30, true))]);
    let begin = Instant::now();
    assert_eq!(dialer.run(route([1, 2, 3])).await, Ok(2));
    assert_eq!(begin.elapsed().as_millis(), 280);
    assert_eq!(dialer.started(), [(1, 0), (2, 250)], "the third was never needed");
    dialer.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_makes_way_at_once_and_a_slow_one_may_still_win() {
    let dialer = Dialer::new([(1, (400, true)), (2, (10, false))]);
    assert_eq!(dialer.run(route([1, 2, 3])).await, Ok(1));
    assert_eq!(dialer.started(), [(1, 0), (2, 250), (3, 260)]);
    dialer.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_every_address_is_named() {
    let dialer = Dialer::new([(1, (10, false)), (2, (10, false))]);
    let failure = dialer.run(route([1, 2])).await.expect_err("nobody is there");
    assert_eq!(failure.to_string().matches("192.0.2.1:").count(), 2, "{failure}");
    assert_eq!(failure.to_string().matches("no answer").count(), 1, "said once: {failure}");
    assert_eq!(dialer.run(route([1])).await, Err(DialFailure::Timeout), "one address needs no list");
    let none = dialer.run(route([])).await.expect_err("nowhere to go");
    assert_eq!(none.to_string(), "no address of the peer is known");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_added_is_started_at_once() {
    let dialer = Dialer::new([(9, (10, true))]);
    let (open, more) = route([1, 2]).open();
    let running = dialer.clone();
    let race = tokio::spawn(async move { running.run(open).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    more.try_send(at(9)).expect("the race runs");
    assert_eq!(race.await.expect("ends"), Ok(9));
    assert_eq!(dialer.started(), [(1, 0), (9, 100)]);
}

#[tokio::test(start_paused = true)]
async fn an_open_route_that_fails_says_what_it_tried() {
    let dialer = Dialer::new([(1, (10, false))]);
    let (open, _more) = route([1]).open();
    let failed = DialFailure::Addresses(vec![(at(1), DialFailure::Timeout)]);
    assert_eq!(dialer.run(open).await, Err(failed));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_race_and_one_without_end_leave_nothing() {
    let dialer = Dialer::new([]);
    let outcome = tokio::time::timeout(Duration::from_millis(2900), dialer.run(route(1..=100))).await;
    assert!(outcome.is_err(), "all are silent");
    assert_eq!(dialer.started().len(), 12);
    dialer.until_nothing_is_left().await;
    let failing = Dialer::new((1..=100).map(|port| (port, (1, false))));
    assert!(failing.run(route(1..=100)).await.is_err());
    assert_eq!(failing.started().len(), MAX_RACE);
}

struct Nothing;

impl LocalHello for Nothing {
    fn protocols(&self) -> (u64, Vec<ProtocolEntry>) {
        (0, Vec::new())
    }
}

/// A manager with a short handshake, whose transport can be looked into.
fn manager() -> (ConnectionManager, crate::transport::Transport) {
    let handshake_timeout = Duration::from_millis(400);
    let TestNode { transport, incoming } = TestNode::start_with(TransportConfig { handshake_timeout, ..config(1) });
    let runtime = Runtime::system().expect("runtime");
    let (events, mut told) = mpsc::channel(8);
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    let connection = ConnectionConfig::new(4, &runtime);
    let manager =
        ConnectionManager::start(connection, transport.clone(), incoming, Arc::new(Nothing), &runtime, events);
    (manager, transport)
}

async fn until_no_dial_is_left(manager: &ConnectionManager, transport: &crate::transport::Transport) {
    let gone = async {
        while transport.dials() > 0 || manager.status().await.dials > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_that_time_out_leave_nothing_behind() {
    let (manager, transport) = manager();
    let silent: Vec<_> = (0..3).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses: Vec<SocketAddr> = silent.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    for round in 0..3 {
        let route = Route::new(PeerId::from_bytes([round; 32]), addresses.clone());
        let failure = soon(manager.dial(route)).await.expect_err("nobody answers");
        let DialFailure::Addresses(each) = failure else { panic!("{failure:?}") };
        assert!(each.iter().all(|(_, failure)| *failure == DialFailure::Timeout) && each.len() == 3, "{each:?}");
        until_no_dial_is_left(&manager, &transport).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_losers_of_a_race_are_given_up_when_one_wins() {
    let (manager, transport) = manager();
    let (there, _) = {
        let node = TestNode::start(2);
        let (address, transport) = (node.address(), node.transport.clone());
        let runtime = Runtime::system().expect("runtime");
        let (events, mut told) = mpsc::channel(8);
        tokio::spawn(async move { while told.recv().await.is_some() {} });
        let connection = ConnectionConfig::new(4, &runtime);
        let other = ConnectionManager::start(connection, transport, node.incoming, Arc::new(Nothing), &runtime, events);
        // It lives as long as the test.
        (address, Box::leak(Box::new(other)))
    };
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addresses = [silent.local_addr().expect("bound"), there.address];
    soon(manager.dial(Route::new(there.peer, addresses).next_after(Duration::from_millis(50))))
        .await
        .expect("the second");
    until_no_dial_is_left(&manager, &transport).await;
}
