//! Lanes over real QUIC, on one connection.

use super::*;

#[tokio::test]
async fn messages_arrive_in_order_across_generations() {
    let ends = plain().await;
    let (_outlet, mut received) = ends.inlet.register(1);
    let (lane, told) = ends.lane(1);
    let mut sent = 0;
    for round in 0..20 {
        let sizes = [8, 200, 5000, 40_000];
        lane.push((0..30).map(|at| numbered(sent + at, sizes[(at as usize + round) % 4])).collect());
        sent += 30;
        let all = take(&mut received, 30).await;
        assert_eq!(all, (sent - 30..sent).collect::<Vec<_>>());
        // Once the stream is parked, the pool makes room with it.
        soon(async {
            while ends.pool().stats().lent > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        ends.pool().release(lane.id());
    }
    let headers = ends.inlet.headers.lock().expect("no panic").clone();
    let places: Vec<_> = headers.iter().map(|header| (header.generation, header.after)).collect();
    assert_eq!(places, (1..=20).map(|at| (at, at - 1)).collect::<Vec<_>>());
    assert!(headers.iter().all(|header| header.lane == lane.id().0 && header.sequence == 5));
    assert_eq!(told.undelivered(), 0);
}

#[tokio::test]
async fn a_handler_that_takes_nothing_holds_up_its_own_lane_only() {
    let ends = plain().await;
    let (_one, mut slow) = ends.inlet.register(1);
    let (_two, mut quick) = ends.inlet.register(2);
    let (blocked, told) = ends.lane(1);
    let (free, _) = ends.lane(2);
    let mut pushed = 0;
    while !told.is_congested() {
        blocked.push(vec![numbered(pushed, 10_000)]);
        pushed += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(blocked.room(), 0);
    for round in 0..20 {
        free.push((0..10).map(|at| numbered(round * 10 + at, 50_000)).collect());
        assert_eq!(take(&mut quick, 10).await, (round * 10..round * 10 + 10).collect::<Vec<_>>());
    }
    let all = take(&mut slow, pushed as usize).await;
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
    soon(told.until(|told| !told.is_congested())).await;
    soon(blocked.flush()).await;
    assert_eq!(told.undelivered(), 0);
}

#[tokio::test]
async fn a_blocked_stream_is_abandoned_and_the_connection_lives() {
    let mut ends = plain().await;
    let (_one, slow) = ends.inlet.register(1);
    let (_two, mut quick) = ends.inlet.register(2);
    let (blocked, told) = ends.lane(1);
    blocked.push((0..150).map(|at| numbered(at, 10_000)).collect());
    soon(told.until(Told::is_congested)).await;
    // The handler's channel is full: nothing more is read, and the window fills up.
    until_full(&slow).await;
    blocked.close();
    let (_, frames, outcome) = soon(ends.reports.recv()).await.expect("a report");
    assert_eq!(outcome, StreamOutcome::Stopped(StopCode::Abandoned));
    soon(told.until(|told| told.undelivered() == 150 - frames)).await;
    let (free, _) = ends.lane(2);
    free.push((0..100).map(|at| numbered(at, 20_000)).collect());
    assert_eq!(take(&mut quick, 100).await, (0..100).collect::<Vec<_>>());
    assert_eq!(ends.pool().stats().ending, 0);
}

#[tokio::test]
async fn an_unregistered_handler_stops_the_lane_for_good_and_a_new_lane_goes_on() {
    let ends = plain().await;
    let (old, slow) = ends.inlet.register(1);
    let (lane, told) = ends.lane(1);
    lane.push((0..30).map(|at| numbered(at, 10_000)).collect());
    until_full(&slow).await;
    old.closed.cancel();
    soon(told.until(Told::is_congested)).await;
    assert_eq!(lane.room(), 0);
    let mut slow = slow;
    let taken = std::iter::from_fn(move || slow.try_recv().ok()).flatten().count() as u64;
    soon(told.until(|told| told.undelivered() == 30 - taken)).await;
    let (_new, mut received) = ends.inlet.register(2);
    lane.push(vec![numbered(100, 8)]);
    lane.close();
    soon(told.until(|told| told.undelivered() == 31 - taken)).await;
    let (lane, told) = ends.lane(2);
    lane.push(vec![numbered(101, 8)]);
    assert_eq!(take(&mut received, 1).await, [101]);
    assert_eq!(told.undelivered(), 0);
}

#[tokio::test]
async fn a_lost_connection_leaves_nothing_uncounted() {
    let ends = plain().await;
    let (_outlet, mut slow) = ends.inlet.register(1);
    let (lane, told) = ends.lane(1);
    lane.push((0..150).map(|at| numbered(at, 10_000)).collect());
    let first = take(&mut slow, 1).await;
    ends.far.link.close(CloseCode::Shutdown);
    ends.receive.remove(ends.far.id);
    ends.pools.remove(ends.near.id);
    lane.close();
    let mut delivered = first.len() as u64;
    soon(lane.flush()).await;
    soon(async {
        while ends.receive.stats().streams > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    while let Ok(frames) = slow.try_recv() {
        delivered += frames.len() as u64;
    }
    soon(told.until(|told| told.undelivered() + delivered >= 150)).await;
    assert!(told.undelivered() <= 150);
}

#[tokio::test]
async fn a_drain_ends_when_everything_was_read() {
    let ends = plain().await;
    let (_outlet, mut received) = ends.inlet.register(1);
    let (lane, told) = ends.lane(1);
    lane.push((0..50).map(|at| numbered(at, 10_000)).collect());
    let reader = tokio::spawn(async move { take(&mut received, 50).await });
    soon(lane.flush()).await;
    soon(ends.pools.drain(ends.near.id)).await;
    assert_eq!(soon(reader).await.expect("no panic").len(), 50);
    assert!(ends.pools.best(&ends.near.peer).is_none());
    lane.close();
    assert_eq!(told.undelivered(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_lanes_than_streams_take_turns() {
    let policy = PoolPolicy { max: 4, ..PoolPolicy::default() };
    let ends = Arc::new(ends(LIMITS, policy, ReceivePolicy::default()).await);
    let lanes = (1..=12).map(|registration| {
        let ends = Arc::clone(&ends);
        let (_, mut received) = ends.inlet.register(registration);
        tokio::spawn(async move {
            let (lane, told) = ends.lane(registration);
            for round in 0..20 {
                lane.push((0..100).map(|at| numbered(round * 100 + at, 256)).collect());
                assert_eq!(take(&mut received, 100).await, (round * 100..round * 100 + 100).collect::<Vec<_>>());
            }
            assert_eq!(told.undelivered(), 0);
            lane.close();
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        soon(lane).await.expect("no panic");
    }
    // Nothing parks for a lane that is closed, and everything was read.
    soon(ends.pools.drain(ends.near.id)).await;
    assert_eq!(ends.receive.stats().refused, 0);
}

#[tokio::test]
async fn peers_that_take_nothing_use_up_a_shared_budget_only_for_a_while() {
    let ends = plain().await;
    let (_one, slow) = ends.inlet.register(1);
    let (_two, mut quick) = ends.inlet.register(2);
    let patience = Duration::from_millis(500);
    let budget = OutboundBudget::new(BudgetLimits { soft: 200_000, hard: 400_000, patience });
    let (stuck, stuck_told) = ends.lane_of(1, &budget);
    let (free, told) = ends.lane_of(2, &budget);
    let mut pushed = 10;
    stuck.push((0..pushed).map(|at| numbered(at, 10_000)).collect());
    until_full(&slow).await;
    // A lane may hold at most as much as it leaves; pushing on regardless uses up what the others have. The room comes
    // back though its handler takes nothing; until QUIC's buffers are full, some of it comes earlier.
    let begin = Instant::now();
    while stuck_told.undelivered() == 0 {
        while budget.free() > 0 {
            stuck.push(vec![numbered(pushed, 10_000)]);
            pushed += 1;
            tokio::task::yield_now().await;
        }
        assert!(free.room() > 0 || told.is_congested());
        soon(told.until(|told| !told.is_congested())).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(10) && slow.len() == slow.max_capacity());
    free.push(vec![numbered(7, 10_000)]);
    assert_eq!(take(&mut quick, 1).await, [7]);
    stuck.close();
    free.close();
    drop((stuck, free));
    soon(async {
        while budget.used() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_are_always_busy_share_too_few_streams() {
    const LANES: u64 = 9;
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, max: 3, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let mut feeders = Vec::new();
    let mut readers = Vec::new();
    for registration in 1..=LANES {
        let (_, mut received) = ends.inlet.register(registration);
        let (lane, told) = ends.lane(registration);
        // Never runs dry, so its lane would never give its stream back by itself.
        feeders.push(tokio::spawn(async move {
            feed(&lane, &told, 0..u64::MAX, 10_000).await;
        }));
        let (served, is_served) = tokio::sync::oneshot::channel();
        readers.push(is_served);
        tokio::spawn(async move {
            let (mut next, mut served) = (0, Some(served));
            while let Some(frames) = received.recv().await {
                for number in numbers(&frames) {
                    assert_eq!(number, next);
                    next += 1;
                }
                if next > 300
                    && let Some(served) = served.take()
                {
                    let _ = served.send(());
                }
            }
        });
    }
    for reader in readers {
        soon(reader).await.expect("no panic");
    }
    let counters = ends.pool().stats().counters;
    assert!(counters.displaced >= LANES - 3 && counters.late > 0 && counters.abandoned == 0, "{counters:?}");
    feeders.iter().for_each(tokio::task::JoinHandle::abort);
}
