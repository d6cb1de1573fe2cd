//! Pools over real QUIC.

use super::*;
use crate::testing::poll_once;

const PATIENCE: Duration = Duration::from_secs(15);

/// A pool that opens a stream only when somebody asks.
fn lazy(max: usize) -> PoolPolicy {
    PoolPolicy { init: 0, low_water: 0, batch: 0, max, ..PoolPolicy::default() }
}

#[tokio::test]
async fn an_empty_pool_grows_and_never_wedges() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 1, max: 4, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    let users = (0..100).map(|lane| {
        let pool = pool.clone();
        tokio::spawn(async move { use_once(&pool, lane, PATIENCE).await })
    });
    let users: Vec<_> = users.collect();
    // A borrower that went away in the meantime takes nothing with it.
    let gone = borrow(&pool, 1000, PATIENCE);
    tokio::select! {
        biased;
        lease = gone => panic!("{lease:?} from an empty pool"),
        () = std::future::ready(()) => {}
    }
    let mut all = take(&mut received, 100).await;
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    for user in users {
        assert_eq!(soon(user).await.expect("no panic"), Ok(()));
    }
    assert!(pool.stats().total() <= 4);
    pool.close();
    pool.close();
    let closed = borrow(&pool, 1, PATIENCE).await;
    assert_eq!(closed.map(drop), Err(BorrowError::Closed));
}

#[tokio::test]
async fn ten_unread_streams_block_the_eleventh_until_its_deadline() {
    let limits = StreamLimits { max_streams: 10, ..LIMITS };
    let ends = ends(limits, PoolPolicy::default(), ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    // What the handler does not take: four batches fit its channel, the others wait before it.
    for lane in 0..14 {
        assert_eq!(use_once(&pool, lane, PATIENCE).await, Ok(()));
    }
    let patience = Duration::from_millis(200);
    let begin = Instant::now();
    assert_eq!(use_once(&pool, 20, patience).await, Err(BorrowError::Busy));
    assert!(begin.elapsed() >= patience && begin.elapsed() < Duration::from_secs(5));
    let waiting = tokio::spawn(async move { use_once(&pool, 21, PATIENCE).await });
    assert_eq!(take(&mut received, 15).await.len(), 15);
    assert_eq!(soon(waiting).await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn more_slots_than_the_peer_allows_block_nobody() {
    let limits = StreamLimits { max_streams: 3, ..LIMITS };
    let ends = ends(limits, PoolPolicy { max: 10, init: 10, ..PoolPolicy::default() }, ReceivePolicy::default()).await;
    assert_eq!(ends.pool().stats().max, 3, "what the hello said");
    // Another connection, of which the peer said more than its QUIC gives.
    let wire = ends.connect_from(1).await;
    ends.pools.add(&wire.near, 10);
    let (_outlet, mut received) = ends.inlet.register(9);
    let reader = tokio::spawn(async move { take(&mut received, 40).await });
    for pool in ends.pools.of_peer(&ends.near.peer) {
        for lane in 1..=20 {
            let lane = lane + 100 * pool.connection().0;
            // The first wait for a stream that never comes may be in vain; whoever asks again has one.
            let patience = Duration::from_millis(300);
            let once = use_once(&pool, lane, patience).await;
            assert!(once.is_ok() || use_once(&pool, lane, PATIENCE).await.is_ok(), "{:?}", pool.stats());
        }
    }
    assert_eq!(soon(reader).await.expect("no panic").len(), 40);
}

/// An implementation may hold MAX_STREAMS back until a tenth of the streams have ended. What it holds back must not be
/// what the pool counts on, or whoever asks next waits in vain for a slot that is free.
#[tokio::test]
async fn a_slot_that_comes_free_is_lent_again_while_all_others_are_taken() {
    let limits = StreamLimits { max_streams: 48, ..LIMITS };
    let ends = ends(limits, lazy(48), ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    let mut taken = Vec::new();
    for lane in 0..47 {
        let mut lease = borrow(&pool, lane, PATIENCE).await.expect("a stream");
        lease.write(&mut [header(9, lane, 1), message(lane)]).await.expect("the stream is open");
        taken.push(lease);
        take(&mut received, 1).await;
    }
    for lane in 100..120 {
        assert_eq!(use_once(&pool, lane, Duration::from_secs(5)).await, Ok(()), "{:?}", pool.stats());
        assert_eq!(take(&mut received, 1).await, [lane]);
    }
}

/// Writes until QUIC takes nothing more: the peer's window and the send buffer are full.
async fn fill(lease: &mut Lease) {
    let mut frame = FrameWriter::default();
    frame.message(&vec![7; crate::stream::testing::MAX_MESSAGE as usize]);
    let mut chunks = [frame.take()];
    let mut left = usize::MAX;
    while left != chunks[0].len() {
        left = chunks[0].len();
        let stuck = tokio::time::timeout(Duration::from_millis(100), lease.write(&mut chunks)).await;
        assert!(stuck.is_err(), "{stuck:?}");
    }
    assert!(left > 0);
}

#[tokio::test]
async fn abandoning_a_stream_whose_window_is_full_frees_its_slot_and_keeps_the_connection() {
    let mut ends = ends(LIMITS, lazy(1), ReceivePolicy::default()).await;
    let (_slow, slow) = ends.inlet.register(8);
    let (_quick, mut quick) = ends.inlet.register(9);
    let pool = ends.pool();
    let mut lease = borrow(&pool, 1, PATIENCE).await.expect("a stream");
    let id = lease.stream();
    let mut messages = vec![header(8, 1, 1)];
    messages.extend((0..20_000).map(message));
    let mut write = Box::pin(lease.write(&mut messages));
    tokio::select! {
        done = &mut write => panic!("the handler takes nothing: {done:?}"),
        () = until_full(&slow) => {}
    }
    drop(write);
    fill(&mut lease).await;
    assert!(lease.is_dirty());
    drop(lease);
    let (stream, _, outcome) = soon(ends.reports.recv()).await.expect("a report");
    assert_eq!((stream, outcome), (id, StreamOutcome::Stopped(StopCode::Abandoned)), "never an end");
    // The only slot: whoever asks next has it, on the same connection.
    for lane in 2..10 {
        assert_eq!(use_once(&pool, lane, PATIENCE).await, Ok(()));
        assert_eq!(take(&mut quick, 1).await, [lane]);
    }
    assert!(ends.near.link.clone().ping().is_ok() && ends.far.link.clone().ping().is_ok());
    until(|| pool.stats().ending == 0).await;
    assert_eq!(pool.stats().counters.abandoned, 1);
}

#[tokio::test]
async fn a_stream_dropped_inside_a_frame_never_looks_whole() {
    let mut ends = ends(LIMITS, lazy(2), ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    let mut lease = borrow(&pool, 1, PATIENCE).await.expect("a stream");
    lease.write(&mut [header(9, 1, 1), message(5)]).await.expect("the stream is open");
    assert_eq!(take(&mut received, 1).await, [5]);
    // The rest of the frame is never written: the writer went away.
    let half = [&message(6)[..], &[200, 1, 0, 1, 2, 3]].concat();
    let mut half = [Bytes::from(half)];
    lease.write(&mut half).await.expect("the stream is open");
    assert_eq!(take(&mut received, 1).await, [6]);
    fill_dropped(&mut lease);
    lease.finish();
    let (_, frames, outcome) = soon(ends.reports.recv()).await.expect("a report");
    assert_eq!((frames, outcome), (2, StreamOutcome::Stopped(StopCode::Abandoned)));
    until(|| pool.stats().total() == 0).await;
}

/// A write that is dropped before it has taken anything: the lease cannot know.
fn fill_dropped(lease: &mut Lease) {
    let mut chunks = [Bytes::from(vec![0; 1 << 20])];
    assert!(poll_once(lease.write(&mut chunks)).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn borrowers_that_give_up_or_fail_leak_no_slot() {
    let ends = ends(LIMITS, lazy(2), ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let reader = tokio::spawn(async move { take(&mut received, 15).await });
    let pool = ends.pool();
    let users: Vec<_> = (0..60)
        .map(|lane| {
            let pool = pool.clone();
            tokio::spawn(async move {
                match lane % 4 {
                    // Its patience ends.
                    0 => drop(borrow(&pool, lane, Duration::from_micros(50)).await),
                    // It is dropped while it waits, or with the stream on its way.
                    1 => {
                        let _ = tokio::time::timeout(Duration::from_micros(300), borrow(&pool, lane, PATIENCE)).await;
                    }
                    // It fails before it writes anything.
                    2 => drop(borrow(&pool, lane, PATIENCE).await.expect("a stream")),
                    _ => use_once(&pool, lane, PATIENCE).await.expect("a stream"),
                }
            })
        })
        .collect();
    for user in users {
        soon(user).await.expect("no panic");
    }
    assert_eq!(soon(reader).await.expect("no panic").len(), 15);
    until(|| pool.stats().ending == 0).await;
    let stats = pool.stats();
    assert_eq!((stats.lent, stats.waiters, stats.parked), (0, 0, 0), "{stats:?}");
    assert!(stats.total() <= 2, "{stats:?}");
    assert_eq!(stats.counters.abandoned, 0);
}

#[tokio::test]
async fn a_stream_is_never_lent_to_who_goes_away_at_that_instant() {
    let ends = ends(LIMITS, lazy(1), ReceivePolicy::default()).await;
    let pool = ends.pool();
    let mut lease = Some(borrow(&pool, 1, PATIENCE).await.expect("a stream"));
    for round in 0..5000 {
        let mut waiting = Box::pin(borrow(&pool, 2, PATIENCE));
        assert!(poll_once(&mut waiting).is_none());
        at_once(|| drop(waiting), || drop(lease.take()));
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.lent, stats.waiters), (1, 0, 0), "round {round}: {stats:?}");
        lease = Some(borrow(&pool, 1, PATIENCE).await.expect("the same stream"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_twice_while_streams_come_back_wakes_everybody() {
    let ends = ends(LIMITS, lazy(3), ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    let users: Vec<_> = (0..20)
        .map(|user| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut lane = user * 1000;
                loop {
                    lane += 1;
                    let lease = borrow(&pool, lane, PATIENCE).await;
                    let Ok(mut lease) = lease else { return lease.map(drop) };
                    let _ = lease.write(&mut [header(9, lane, 1), message(lane)]).await;
                    lease.finish();
                }
            })
        })
        .collect();
    assert!(take(&mut received, 50).await.len() >= 50);
    let closers = [pool.clone(), pool.clone()].map(|pool| tokio::spawn(async move { pool.close() }));
    let reader = tokio::spawn(async move { while received.recv().await.is_some() {} });
    for user in users {
        assert_eq!(soon(user).await.expect("no panic"), Err(BorrowError::Closed));
    }
    for closer in closers {
        soon(closer).await.expect("no panic");
    }
    pool.close();
    assert_eq!((pool.stats().total(), pool.stats().waiters), (0, 0));
    assert!(!pool.is_open());
    reader.abort();
}

#[tokio::test]
async fn unused_streams_are_given_up_and_the_peer_has_room_again() {
    let idle_for = Duration::from_millis(200);
    let limits = StreamLimits { max_streams: 8, ..LIMITS };
    let policy = PoolPolicy { max: 8, init: 2, low_water: 0, idle_for, ..PoolPolicy::default() };
    let mut ends = ends(limits, policy, ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    for round in 0..3 {
        // A crowd takes all there are: half of them use their stream, the others give it back as it was.
        let mut leases = Vec::new();
        for lane in 1..=8 {
            leases.push(borrow(&pool, 100 * round + lane, PATIENCE).await.expect("the slots came back"));
        }
        for (lane, mut lease) in (1..).zip(leases) {
            if lane % 2 == 0 {
                let lane = 100 * round + lane;
                lease.write(&mut [header(9, lane, 1), message(lane)]).await.expect("the stream is open");
            }
        }
        assert_eq!(take(&mut received, 4).await.len(), 4);
        until(|| pool.stats().total() == 2).await;
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.parked, stats.ending), (2, 0, 0), "{stats:?}");
    }
    let mut frames = Vec::new();
    while let Ok((_, count, outcome)) = ends.reports.try_recv() {
        assert_eq!(outcome, StreamOutcome::Finished);
        frames.push(count);
    }
    assert_eq!(frames.len() as u64, pool.stats().counters.shrunk);
    assert_eq!(frames.iter().sum::<u64>(), 12);
    assert!(frames.contains(&0), "an unused stream is reported like any other");
}

#[tokio::test]
async fn who_waited_in_vain_before_is_served_before_those_who_came_since() {
    let ends = ends(LIMITS, lazy(1), ReceivePolicy::default()).await;
    let pool = ends.pool();
    let held = borrow(&pool, 1, PATIENCE).await.expect("a stream");
    let now = Instant::now();
    let mut order = Vec::new();
    let (told, mut hears) = mpsc::channel(2);
    for (lane, since) in [(2, now), (3, now - Duration::from_secs(1))] {
        let (pool, told) = (pool.clone(), told.clone());
        let waiters = pool.stats().waiters;
        let waits = pool.clone();
        tokio::spawn(async move {
            let lease = waits.borrow(Arc::new(Plain(lane)), since, now + PATIENCE).await.expect("a stream");
            told.send(lane).await.expect("the test listens");
            lease.finish();
        });
        until(|| pool.stats().waiters > waiters).await;
    }
    drop(held);
    for _ in 0..2 {
        order.push(soon(hears.recv()).await.expect("both are served"));
    }
    assert_eq!(order, [3, 2]);
}
