//! Lanes over several connections of one peer: chosen, asked for, and changed in mid-traffic, in order.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A lane that is fed, and what its handler got of it.
struct Traffic {
    lane: Lane,
    told: Arc<Told>,
    got: Arc<AtomicU64>,
    /// The highest number that came, and one more.
    next: Arc<AtomicU64>,
    feeder: tokio::task::JoinHandle<()>,
}

impl Traffic {
    /// Pushes so many messages, whenever there is room.
    fn start(ends: &Ends, registration: u64, count: u64, size: usize) -> Self {
        let (_, mut received) = ends.inlet.register(registration);
        let (lane, told) = ends.lane(registration);
        let (got, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (feeds, tells) = (lane.clone(), Arc::clone(&told));
        let feeder = tokio::spawn(async move { feed(&feeds, &tells, 0..count, size).await });
        let (counts, knows) = (Arc::clone(&got), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(frames) = received.recv().await {
                for number in numbers(&frames) {
                    // In order and at most once: numbers only grow.
                    assert!(number >= knows.load(Ordering::SeqCst), "message {number} came late or twice");
                    knows.store(number + 1, Ordering::SeqCst);
                    counts.fetch_add(1, Ordering::SeqCst);
                }
            }
            panic!("the handler ends with the test");
        });
        Self { lane, told, got, next, feeder }
    }

    /// Pushes these behind what it has begun with.
    async fn goes_on(&mut self, numbers: Range<u64>, size: usize) {
        soon(&mut self.feeder).await.expect("no panic");
        let (lane, told) = (self.lane.clone(), Arc::clone(&self.told));
        self.feeder = tokio::spawn(async move { feed(&lane, &told, numbers, size).await });
    }

    fn got(&self) -> u64 {
        self.got.load(Ordering::SeqCst)
    }

    fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Everything that is fed comes, and nothing of it is told as undelivered.
    async fn comes_whole(mut self, count: u64) {
        self.has_settled().await;
        assert_eq!((self.got(), self.next(), self.told.undelivered()), (count, count, 0));
    }

    /// What has not come was told as undelivered.
    fn is_counted(&self, count: u64) {
        let (got, undelivered) = (self.got(), self.told.undelivered());
        assert!(got <= count && got + undelivered >= count, "{got} came, {undelivered} were told as lost");
    }

    async fn has_settled(&mut self) {
        soon(&mut self.feeder).await.expect("no panic");
        soon(self.lane.settled()).await;
    }
}

fn lent_of(ends: &Ends, wire: &Wire) -> u64 {
    let stats = ends.pools.stats();
    stats.iter().find(|(_, id, _)| *id == wire.near.id).map_or(0, |(_, _, stats)| stats.counters.lent)
}

const LANES: u64 = 6;
const MESSAGES: u64 = 1500;
const SIZE: usize = 4000;

async fn busy_on_two() -> (Ends, Wire, Wire, Vec<Traffic>) {
    let ends = plain().await;
    let (first, second) = (ends.first(), ends.connect().await);
    let traffic: Vec<_> = (1..=LANES).map(|number| Traffic::start(&ends, number, MESSAGES, SIZE)).collect();
    until(|| traffic.iter().all(|lane| lane.got() > 20)).await;
    assert!(lent_of(&ends, &first) > 0 && lent_of(&ends, &second) > 0, "the least-loaded is chosen");
    (ends, first, second, traffic)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_drained_in_mid_traffic_loses_nothing_and_keeps_the_order() {
    let (ends, first, second, traffic) = busy_on_two().await;
    assert!(traffic.iter().all(|lane| lane.got() < MESSAGES), "in mid-traffic");
    soon(ends.pools.drain(first.near.id)).await;
    let lent = lent_of(&ends, &first);
    ends.lose(&first);
    for lane in traffic {
        lane.comes_whole(MESSAGES).await;
    }
    let totals = ends.pools.totals();
    assert!(totals.lanes_moved > 0 && totals.pools.abandoned == 0, "{totals:?}");
    assert!(totals.pools.lent >= lent + lent_of(&ends, &second), "what a gone pool did still counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_mid_traffic_keeps_the_order_and_counts_everything() {
    let (ends, first, _second, traffic) = busy_on_two().await;
    ends.lose(&first);
    for mut lane in traffic {
        lane.has_settled().await;
        // What was under way on the lost connection is counted; everything after it has come.
        until(|| lane.next() == MESSAGES).await;
        lane.is_counted(MESSAGES);
    }
    assert!(ends.pools.totals().lanes_moved > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_connections_lost_one_after_the_other_lose_no_lane() {
    let (ends, first, second, traffic) = busy_on_two().await;
    ends.lose(&first);
    ends.lose(&second);
    assert!(ends.pools.best(&ends.near.peer).is_none());
    let _third = ends.connect().await;
    for mut lane in traffic {
        lane.has_settled().await;
        lane.is_counted(MESSAGES);
    }
}

/// Passes on what is asked of it, and which connections are needed no more.
struct Asked(mpsc::Sender<PeerId>, mpsc::Sender<ConnectionId>);

impl WantsConnection for Asked {
    fn another(&self, peer: PeerId) {
        self.0.try_send(peer).expect("it is asked seldom");
    }

    fn no_longer(&self, _: PeerId, connection: ConnectionId) {
        self.1.try_send(connection).expect("it is told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_peer_gets_another_connection_and_lanes_move_to_it_in_order() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 2, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (ask, mut asked) = mpsc::channel(1);
    ends.pools.ask_for_connections(Arc::new(Asked(ask, mpsc::channel(1).0)));
    let traffic: Vec<_> = (1..=5).map(|number| Traffic::start(&ends, number, u64::MAX, SIZE)).collect();
    assert_eq!(soon(asked.recv()).await, Some(ends.near.peer));
    let second = ends.connect().await;
    until(|| lent_of(&ends, &second) >= 2 && ends.pools.totals().lanes_moved > 0).await;
    let before: Vec<_> = traffic.iter().map(Traffic::got).collect();
    until(|| traffic.iter().zip(&before).all(|(lane, before)| lane.got() > before + 50)).await;
    for lane in &traffic {
        assert_eq!(lane.told.undelivered(), 0);
        let (next, got) = (lane.next(), lane.got());
        assert!(next <= got + 1, "{got} of {next}: none is missing, one may be under count");
        lane.feeder.abort();
    }
    assert!(asked.try_recv().is_err(), "asked again too soon");
    assert_eq!(ends.pools.totals().connections_wanted, 1);
}

/// Looks as often as it takes until something is said to be needed no more.
async fn spared(ends: &Ends, told: &mut mpsc::Receiver<ConnectionId>) -> ConnectionId {
    soon(async {
        loop {
            ends.pools.look_for_spare(|connection| ends.receive.is_busy(connection));
            match tokio::time::timeout(Duration::from_millis(100), told.recv()).await {
                Ok(connection) => return connection.expect("open"),
                Err(_) => continue,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_load_needs_no_more_is_left_in_order_and_given_up() {
    let load = LoadPolicy { spare_after: Duration::ZERO, ..LoadPolicy::default() };
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 12, ..PoolPolicy::default() };
    let ends = ends_with(LIMITS, policy, load, ReceivePolicy::default()).await;
    let (tell, mut told) = mpsc::channel(1);
    ends.pools.ask_for_connections(Arc::new(Asked(mpsc::channel(9).0, tell)));
    let second = ends.connect().await;
    // Two lanes are less than a quarter of what one connection carries; one of them is at home on the second.
    // The second begins when the first has its stream, and so finds the other connection the less loaded one.
    let mut traffic = vec![Traffic::start(&ends, 1, MESSAGES, SIZE)];
    until(|| traffic[0].got() > 0).await;
    traffic.push(Traffic::start(&ends, 2, MESSAGES, SIZE));
    until(|| lent_of(&ends, &second) > 0 && traffic.iter().all(|lane| lane.got() > 20)).await;
    assert_eq!(spared(&ends, &mut told).await, second.near.id, "in mid-traffic");
    assert!(ends.pools.stats().iter().any(|(_, id, stats)| *id == second.near.id && stats.total() == 0));
    ends.lose(&second);
    for mut lane in traffic {
        // On a busy machine the lane may have come to its end while the connection was still there; it goes on either way.
        lane.goes_on(MESSAGES..MESSAGES + 100, SIZE).await;
        lane.comes_whole(MESSAGES + 100).await;
    }
    let totals = ends.pools.totals();
    assert!(totals.lanes_moved > 0 && totals.pools.abandoned == 0, "{totals:?}");
    assert_eq!(totals.connections_spared, 1);
}

#[tokio::test]
async fn a_connection_that_was_to_be_given_up_is_used_again_when_it_is_all_that_is_left() {
    let load = LoadPolicy { spare_after: Duration::ZERO, ..LoadPolicy::default() };
    let ends = ends_with(LIMITS, PoolPolicy::default(), load, ReceivePolicy::default()).await;
    let (tell, mut told) = mpsc::channel(1);
    ends.pools.ask_for_connections(Arc::new(Asked(mpsc::channel(9).0, tell)));
    let second = ends.connect().await;
    assert_eq!(spared(&ends, &mut told).await, second.near.id);
    assert_eq!(ends.pool().connection(), ends.near.id, "nothing is lent on it");
    ends.lose(&ends.first());
    let (_, mut received) = ends.inlet.register(1);
    let (lane, lane_told) = ends.lane(1);
    lane.push(vec![numbered(0, 8)]);
    assert_eq!(take(&mut received, 1).await, [0]);
    assert_eq!((ends.pool().connection(), lane_told.undelivered()), (second.near.id, 0));
}

#[tokio::test]
async fn a_connection_is_never_given_up_for_good_at_the_instant_at_which_it_is_needed() {
    let ends = ends(LIMITS, PoolPolicy { init: 0, ..PoolPolicy::default() }, ReceivePolicy::default()).await;
    let (peer, second) = (ends.near.peer, ends.connect().await.near.id);
    for round in 0..2000 {
        at_once(|| ends.pools.give_up(&peer, second), || ends.pools.remove(ends.near.id));
        let left = ends.pools.best(&peer).map(|pool| pool.connection());
        assert_eq!(left, Some(second), "the only one, in round {round}");
        ends.pools.add(&ends.near, LIMITS.max_streams);
        at_once(|| ends.pools.give_up(&peer, second), || ends.pools.resume(&peer, false));
        ends.pools.resume(&peer, false);
        assert!(ends.pools.of_peer(&peer).iter().all(SendStreamPool::is_open), "wanted again, in round {round}");
        tokio::task::yield_now().await;
    }
}

/// The connection that a lane with nothing under way would use next, at home on this one.
fn next_of(ends: &Ends, home: &ConnectionHandle) -> Option<ConnectionId> {
    let home = Home { connection: home.id, settled: true };
    ends.pools.pool_for(&ends.near.peer, Some(home)).map(|pool| pool.connection())
}

fn places(ends: &Ends) -> Vec<(u64, u64)> {
    let headers = ends.inlet.headers.lock().expect("no panic").clone();
    headers.iter().map(|header| (header.generation, header.after)).collect()
}

async fn lane_parked_on(ends: &Ends, registration: u64) -> (Lane, Arc<Told>, mpsc::Receiver<Vec<Frame>>) {
    let (_, mut received) = ends.inlet.register(registration);
    let (lane, told) = ends.lane(registration);
    lane.push(vec![numbered(0, 8)]);
    assert_eq!(take(&mut received, 1).await, [0]);
    soon(lane.settled()).await;
    until(|| ends.pool().stats().parked == 1).await;
    (lane, told, received)
}

#[tokio::test]
async fn a_lane_that_leaves_a_full_connection_finishes_its_parked_stream_first() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 2, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (lane, told, mut received) = lane_parked_on(&ends, 1).await;
    let first = ends.pool();
    let second = ends.connect().await;
    assert_eq!(next_of(&ends, &ends.near), Some(ends.near.id), "the lane stays where it is at home");
    // Somebody has a stream and waits for a second one, which its own cap forbids: that makes no room by itself.
    let held = borrow(&first, 99, Duration::from_secs(15)).await.expect("a stream");
    let waits = tokio::spawn(async move { borrow(&first, 99, Duration::from_secs(15)).await });
    until(|| next_of(&ends, &ends.near) == Some(second.near.id)).await;
    for number in 1..20 {
        lane.push(vec![numbered(number, 8)]);
        assert_eq!(take(&mut received, 1).await, [number]);
    }
    assert_eq!(places(&ends), [(1, 0), (2, 1)]);
    assert_eq!((told.undelivered(), ends.pools.totals().lanes_moved), (0, 1));
    assert!(lent_of(&ends, &second) > 0);
    drop(held);
    assert!(soon(waits).await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_stream_lent_late_a_lane_that_moves_and_a_refused_stream_are_events_in_their_connections_span() {
    let said = crate::capture::Capture::default();
    let _listening = said.listen();
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 1, ..PoolPolicy::default() };
    let receive = ReceivePolicy { per_connection: 1, ..ReceivePolicy::default() };
    let ends = ends(LIMITS, policy, receive).await;
    let (lane, _, mut received) = lane_parked_on(&ends, 1).await;
    let first = ends.pool();
    let second = ends.connect().await;
    let _held = borrow(&first, 99, Duration::from_secs(15)).await.expect("the parked stream made room");
    lane.push(vec![numbered(1, 8)]);
    assert_eq!(take(&mut received, 1).await, [1]);
    let (near, other) = (ends.near.id.0.to_string(), second.near.id.0.to_string());
    let moved = &said.named("a lane moved to another connection")[0];
    assert_eq!([moved.field("from"), moved.field("to")], [Some(near.as_str()), Some(other.as_str())]);
    assert_eq!(moved.in_span("connection", "id"), Some(other.as_str()));
    let late = said.named("a stream was lent late");
    assert!(late.iter().any(|line| line.in_span("connection", "id") == Some(near.as_str())), "{late:?}");
    assert!(late.iter().all(|line| line.field("waited").is_some()));
    // A second stream on a connection that may have one.
    let mut link = second.near.link.clone();
    let mut surplus = link.open_send_stream().await.expect("open");
    surplus.write(&mut [Bytes::from_static(b"x")]).await.expect("written");
    until(|| !said.named("refused a stream of the peer").is_empty()).await;
    let refused = &said.named("refused a stream of the peer")[0];
    let named = ["scope", "limit", "value", "taken"].map(|name| refused.field(name));
    assert_eq!(named, [Some("connection"), Some("receive streams"), Some("1"), Some("1")]);
    assert_eq!(refused.in_span("connection", "id"), Some(second.far.id.0.to_string().as_str()));
    assert_eq!(refused.in_span("connection", "direction"), Some("Inbound"));
}

#[tokio::test]
async fn a_lane_whose_slot_went_to_another_goes_on_elsewhere() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 1, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (lane, told, mut received) = lane_parked_on(&ends, 1).await;
    let first = ends.pool();
    let _second = ends.connect().await;
    let lease = borrow(&first, 99, Duration::from_secs(15)).await.expect("the parked stream made room");
    assert_eq!(lease.connection(), ends.near.id);
    for number in 1..20 {
        lane.push(vec![numbered(number, 8)]);
        assert_eq!(take(&mut received, 1).await, [number]);
    }
    assert_eq!(places(&ends), [(1, 0), (2, 1)]);
    assert_eq!((told.undelivered(), ends.pools.totals().lanes_moved), (0, 1));
}

#[tokio::test]
async fn no_task_outlives_its_lane_and_connection() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 1, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (_outlet, slow) = ends.inlet.register(1);
    let (blocked, told) = ends.lane(1);
    blocked.push((0..150).map(|at| numbered(at, 10_000)).collect());
    soon(told.until(Told::is_congested)).await;
    until_full(&slow).await;
    // The only stream is taken and not read: this one waits for it, and others for a connection.
    let (waiting, _) = ends.lane(2);
    waiting.push(vec![numbered(0, 8)]);
    until(|| ends.pool().stats().waiters == 1).await;
    waiting.close();
    until(|| ends.pool().stats().waiters == 0).await;
    let (late, told_late) = ends.lane(3);
    late.push(vec![numbered(0, 8)]);
    ends.lose(&ends.first());
    blocked.close();
    late.close();
    soon(told_late.until(|told| told.undelivered() == 1)).await;
    ends.tasks.close();
    soon(ends.tasks.wait()).await;
    assert_eq!(ends.receive.stats().streams, 0);
}
