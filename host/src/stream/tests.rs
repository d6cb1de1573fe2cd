//! Pools, lanes and receive streams over real QUIC on loopback.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::testing::{Ends, INCARNATION, ends, numbered, numbers};
use super::*;
use crate::connection::ConnectionId;
use crate::transport::StreamLimits;
use crate::transport::testing::soon;
use crate::wire::{CloseCode, FrameWriter, StreamOutcome};

const LIMITS: StreamLimits = StreamLimits { max_streams: 16, stream_window: 64 << 10, send_buffer: 64 << 10 };

async fn plain() -> Ends {
    ends(LIMITS, PoolPolicy::default(), ReceivePolicy::default()).await
}

/// Takes messages until `count` have come.
async fn take(received: &mut mpsc::Receiver<Vec<Frame>>, count: usize) -> Vec<u64> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(numbers(&soon(received.recv()).await.expect("the handler is there")));
    }
    all
}

/// Waits until the handler's channel is full.
async fn until_full(received: &mpsc::Receiver<Vec<Frame>>) {
    let full = async {
        while received.len() < received.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    soon(full).await;
}

/// A borrower that only wants streams.
struct Plain(u64);

impl Borrower for Plain {
    fn lane(&self) -> LaneId {
        LaneId(self.0)
    }
    fn finished(&self, _: ConnectionId, _: u64) {}
    fn progress(&self, _: ConnectionId, _: u64, _: u64) {}
    fn ended(&self, _: ConnectionId, _: u64, _: u64, _: StreamOutcome) {}
    fn lost(&self, _: ConnectionId) {}
}

/// Borrows for a lane of its own, writes one message and finishes.
async fn use_once(pool: &SendStreamPool, lane: u64, patience: Duration) -> Result<(), BorrowError> {
    let mut lease = pool.borrow(Arc::new(Plain(lane)), Instant::now() + patience).await?;
    assert!(lease.is_fresh());
    lease.write(&mut [header(9, lane, 1), message(lane)]).await.expect("the stream is open");
    lease.finish();
    Ok(())
}

fn header(registration: u64, lane: u64, generation: u64) -> Bytes {
    let (incarnation, sequence, after) = (INCARNATION, 5, 0);
    let mut out = BytesMut::new();
    StreamHeader { registration, sequence, incarnation, lane, generation, after }.encode(&mut out);
    out.freeze()
}

fn message(number: u64) -> Bytes {
    let mut writer = FrameWriter::default();
    writer.message(&number.to_be_bytes());
    writer.take()
}

#[tokio::test]
async fn an_empty_pool_grows_and_never_wedges() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 1, max: 4, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let pool = ends.pool();
    let users = (0..100).map(|lane| {
        let pool = pool.clone();
        tokio::spawn(async move { use_once(&pool, lane, Duration::from_secs(15)).await })
    });
    let users: Vec<_> = users.collect();
    // A borrower that went away in the meantime takes nothing with it.
    let gone = pool.borrow(Arc::new(Plain(1000)), Instant::now() + Duration::from_secs(15));
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
    let closed = pool.borrow(Arc::new(Plain(1)), Instant::now() + Duration::from_secs(5)).await;
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
        assert_eq!(use_once(&pool, lane, Duration::from_secs(15)).await, Ok(()));
    }
    let patience = Duration::from_millis(200);
    let begin = Instant::now();
    assert_eq!(use_once(&pool, 20, patience).await, Err(BorrowError::Busy));
    assert!(begin.elapsed() >= patience && begin.elapsed() < Duration::from_secs(5));
    let waiting = tokio::spawn(async move { use_once(&pool, 21, Duration::from_secs(15)).await });
    assert_eq!(take(&mut received, 15).await.len(), 15);
    assert_eq!(soon(waiting).await.expect("no panic"), Ok(()));
}

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
    soon(told.until(super::testing::Told::is_congested)).await;
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
async fn an_unregistered_handler_stops_the_lane_until_it_is_retargeted() {
    let ends = plain().await;
    let (old, slow) = ends.inlet.register(1);
    let (lane, told) = ends.lane(1);
    lane.push((0..30).map(|at| numbered(at, 10_000)).collect());
    until_full(&slow).await;
    old.closed.cancel();
    let taken = |slow: mpsc::Receiver<Vec<Frame>>| {
        let mut slow = slow;
        std::iter::from_fn(move || slow.try_recv().ok()).flatten().count() as u64
    };
    soon(told.until(super::testing::Told::is_congested)).await;
    assert_eq!(lane.room(), 0);
    let taken = taken(slow);
    soon(told.until(|told| told.undelivered() == 30 - taken)).await;
    let (_new, mut received) = ends.inlet.register(2);
    lane.retarget(2);
    lane.push(vec![numbered(100, 8)]);
    assert_eq!(take(&mut received, 1).await, [100]);
    soon(told.until(|told| !told.is_congested())).await;
    assert_eq!(told.undelivered(), 30 - taken);
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

/// Opens a stream of its own, writes the bytes, and finishes or not.
async fn raw(ends: &Ends, bytes: &[u8], finish: bool) -> crate::transport::SendStream {
    let mut stream = ends.near.link.clone().open_send_stream().await.expect("the connection is there");
    // A peer may have stopped it before it is finished.
    let _ = stream.write(&mut [Bytes::copy_from_slice(bytes)]).await;
    if finish {
        let _ = stream.finish();
    }
    stream
}

#[tokio::test]
async fn what_a_hostile_peer_sends_ends_its_stream_and_nothing_else() {
    let policy = PoolPolicy { init: 0, ..PoolPolicy::default() };
    let limits = ReceivePolicy { per_connection: 3, ..ReceivePolicy::default() };
    let mut ends = ends(LIMITS, policy, limits).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let garbage = [255; 70];
    let wrong = {
        let mut out = BytesMut::new();
        let (registration, sequence, incarnation) = (9, 5, INCARNATION + 1);
        StreamHeader { registration, sequence, incarnation, lane: 1, generation: 1, after: 0 }.encode(&mut out);
        out
    };
    let huge = [&header(9, 2, 1)[..], &message(1), &[255, 255, 255, 255, 255, 255, 255, 63]].concat();
    let cut = [&header(9, 3, 1)[..], &message(2), &[100, 0, 1]].concat();
    let unknown = header(8, 4, 1);
    let cases: [(&[u8], bool, u64, StopCode); 5] = [
        (&garbage, false, 0, StopCode::Malformed),
        (&wrong, false, 0, StopCode::WrongIncarnation),
        (&huge, false, 1, StopCode::TooLarge),
        (&cut, true, 1, StopCode::Malformed),
        (&unknown, false, 0, StopCode::Unregistered),
    ];
    for (bytes, finish, frames, code) in cases {
        let stream = raw(&ends, bytes, finish).await;
        let report = soon(ends.reports.recv()).await;
        assert_eq!(report, Some((stream.id(), frames, StreamOutcome::Stopped(code))));
    }
    // Three that stay silent in mid-header take all places; the fourth is refused and takes none.
    let silent = [raw(&ends, &[20], false).await, raw(&ends, &[20], false).await, raw(&ends, &[20], false).await];
    let fourth = raw(&ends, &[20], false).await;
    let refused = StreamOutcome::Stopped(StopCode::TooManyStreams);
    assert_eq!(soon(ends.reports.recv()).await, Some((fourth.id(), 0, refused)));
    assert_eq!((ends.receive.stats().streams, ends.receive.stats().refused), (3, 1));
    for stream in silent {
        ends.receive.abandon(ends.far.id, stream.id());
        let (id, _, outcome) = soon(ends.reports.recv()).await.expect("a report");
        assert_eq!((id, outcome), (stream.id(), StreamOutcome::Stopped(StopCode::Abandoned)));
    }
    assert_eq!(ends.receive.stats().streams, 0);
    let (lane, _) = ends.lane(9);
    lane.push(vec![numbered(3, 8)]);
    assert_eq!(take(&mut received, 3).await, [1, 2, 3]);
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
async fn claims_of_large_frames_hold_little_and_only_themselves() {
    const STREAMS: u64 = 64;
    let limits = StreamLimits { max_streams: STREAMS as u32 + 4, ..StreamLimits::default() };
    let policy = PoolPolicy { init: 0, ..PoolPolicy::default() };
    let receive = ReceivePolicy { per_connection: 80, ..ReceivePolicy::default() };
    let ends = ends(limits, policy, receive).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let mut frame = FrameWriter::default();
    frame.message(&vec![0; super::testing::MAX_MESSAGE as usize]);
    let frame = frame.take();
    let mut claims = Vec::new();
    for lane in 1..=STREAMS {
        let mut stream = ends.near.link.clone().open_send_stream().await.expect("the connection is there");
        let bytes = frame.slice(..frame.len() - 1);
        claims.push(tokio::spawn(async move {
            let _ = stream.write(&mut [header(9, 1000 + lane, 1), bytes]).await;
            stream
        }));
    }
    // Whoever is let in, comes to its last byte; the others stand still.
    let let_in = receive.assembly / frame.len();
    let held = || ends.receive.stats().incomplete;
    let free = STREAMS as usize * crate::transport::MAX_READ;
    soon(async {
        while held() < let_in * (frame.len() - 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (lane, _) = ends.lane(9);
    for number in 0..200 {
        lane.push(vec![numbered(number, 1000)]);
        assert_eq!(take(&mut received, 1).await, [number]);
        assert!(held() <= receive.assembly + free, "{} bytes", held());
    }
    for stream in 0..STREAMS {
        // Ids of unidirectional streams of the side that dialed.
        ends.receive.abandon(ends.far.id, stream * 4 + 2);
    }
    soon(async {
        while held() > 0 || ends.receive.stats().streams > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for claim in claims {
        drop(soon(claim).await);
    }
    lane.push(vec![numbered(7, super::testing::MAX_MESSAGE as usize)]);
    assert_eq!(take(&mut received, 1).await, [7]);
}
