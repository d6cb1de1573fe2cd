//! Receive streams over real QUIC: what they cost, and what a hostile peer does to others.

use super::*;

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
        let stream = raw(&ends.near, bytes, finish).await;
        let report = soon(ends.reports.recv()).await;
        assert_eq!(report, Some((stream.id(), frames, StreamOutcome::Stopped(code))));
    }
    // Three that stay silent in mid-header take all places; the fourth is refused and takes none.
    let silent =
        [raw(&ends.near, &[20], false).await, raw(&ends.near, &[20], false).await, raw(&ends.near, &[20], false).await];
    let fourth = raw(&ends.near, &[20], false).await;
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
async fn claims_of_large_frames_hold_little_and_only_themselves() {
    const STREAMS: u64 = 64;
    let limits = StreamLimits { max_streams: STREAMS as u32 + 4, ..StreamLimits::default() };
    let policy = PoolPolicy { init: 0, ..PoolPolicy::default() };
    let receive = ReceivePolicy { per_connection: 80, ..ReceivePolicy::default() };
    let ends = ends(limits, policy, receive).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let mut frame = FrameWriter::default();
    frame.message(&vec![0; crate::stream::testing::MAX_MESSAGE as usize]);
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
    lane.push(vec![numbered(7, crate::stream::testing::MAX_MESSAGE as usize)]);
    assert_eq!(take(&mut received, 1).await, [7]);
}

/// A whole header and nothing else: counted, and owned by a handler.
async fn begin(on: &ConnectionHandle, lane: u64) -> SendStream {
    raw(on, &header(9, lane, 1), false).await
}

#[tokio::test]
async fn each_bound_refuses_what_is_above_it_unread() {
    let limits = ReceivePolicy { per_connection: 3, per_peer: 5, per_node: 6, ..ReceivePolicy::default() };
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, ..PoolPolicy::default() };
    let mut ends = ends(LIMITS, policy, limits).await;
    let (_outlet, received) = ends.inlet.register(9);
    let (first, second, other) = (ends.first(), ends.connect_from(1).await, ends.connect_from(3).await);
    let mut open = Vec::new();
    for (lane, wire) in [(1, &first), (2, &first), (3, &first), (4, &second), (5, &second), (6, &other)] {
        open.push(begin(&wire.near, lane).await);
        until(|| ends.receive.stats().streams == open.len()).await;
    }
    let whole = [&header(9, 99, 1)[..], &message(1), &message(2)].concat();
    let refused = StreamOutcome::Stopped(StopCode::TooManyStreams);
    for (round, wire) in [&first, &second, &other].into_iter().cycle().take(9).enumerate() {
        let stream = raw(&wire.near, &whole, true).await;
        assert_eq!(soon(ends.reports.recv()).await, Some((stream.id(), 0, refused)), "round {round}");
        drop(stream);
        // Its end gave back no place that it never had.
        assert_eq!(ends.receive.stats().streams, 6);
    }
    let stats = ends.receive.stats();
    assert_eq!(stats.refused_by, RefusedBy { connection: 3, peer: 3, node: 3 });
    assert_eq!((stats.accepted, stats.refused), (6, 9));
    let of = |wire: &Wire| stats.connections.iter().find(|(id, _)| *id == wire.far.id).map(|(_, count)| *count);
    assert_eq!((of(&first), of(&second), of(&other)), (Some(3), Some(2), Some(1)));
    // Nobody read a byte of them.
    assert_eq!(received.len(), 0);
    assert!(ends.inlet.headers.lock().expect("no panic").iter().all(|header| header.lane != 99));
    // A place that comes free goes to the next.
    ends.receive.abandon(other.far.id, open[5].id());
    assert_eq!(soon(ends.reports.recv()).await.map(|(id, _, _)| id), Some(open[5].id()));
    open.push(begin(&other.near, 7).await);
    until(|| ends.receive.stats().streams == 6).await;
}

#[tokio::test]
async fn closing_a_connection_closes_its_streams_and_no_others() {
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, ..PoolPolicy::default() };
    let ends = ends(LIMITS, policy, ReceivePolicy::default()).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let (first, second) = (ends.first(), ends.connect_from(1).await);
    let mut open = Vec::new();
    for lane in 1..=4 {
        open.push(begin(&first.near, lane).await);
        open.push(begin(&second.near, 10 + lane).await);
    }
    until(|| ends.receive.stats().streams == 8).await;
    ends.receive.remove(first.far.id);
    ends.receive.remove(first.far.id);
    until(|| ends.receive.stats().streams == 4).await;
    assert_eq!(ends.receive.stats().connections, [(second.far.id, 4)]);
    // What comes on it later is not taken in; the other one goes on.
    let _late = raw(&first.near, &[&header(9, 20, 1)[..], &message(1)].concat(), true).await;
    let _fine = raw(&second.near, &[&header(9, 21, 1)[..], &message(2)].concat(), true).await;
    assert_eq!(take(&mut received, 1).await, [2]);
    until(|| ends.receive.stats().streams == 4).await;
    assert_eq!(ends.receive.stats().accepted, 9);
    ends.receive.remove(second.far.id);
    until(|| ends.receive.stats().streams == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_is_reported_once_and_counted_exactly_under_churn() {
    const STREAMS: u64 = 240;
    let limits = ReceivePolicy { per_connection: 5, per_peer: 8, ..ReceivePolicy::default() };
    let policy = PoolPolicy { init: 0, low_water: 0, batch: 0, ..PoolPolicy::default() };
    let mut ends = ends(LIMITS, policy, limits).await;
    let (_outlet, mut received) = ends.inlet.register(9);
    let reader = tokio::spawn(async move { while received.recv().await.is_some() {} });
    let wires = [ends.first(), ends.connect_from(1).await];
    // QUIC counts a stream that was stopped until its sender drops it.
    let mut kept = std::collections::VecDeque::new();
    for at in 0..STREAMS {
        let wire = &wires[at as usize % 2];
        let good = [&header(9, 100 + at, 1)[..], &message(at)].concat();
        let stream = match at / 2 % 5 {
            0 => raw(&wire.near, &good, true).await,
            1 => raw(&wire.near, &[255; 70], false).await,
            2 => raw(&wire.near, &[], true).await,
            3 => raw(&wire.near, &good[..good.len() - 1], true).await,
            _ => {
                let silent = raw(&wire.near, &[20], false).await;
                // Before or after it was accepted, and also when it was refused.
                ends.receive.abandon(wire.far.id, silent.id());
                silent
            }
        };
        kept.push_back(stream);
        kept.drain(..kept.len().saturating_sub(12));
        let stats = ends.receive.stats();
        assert!(stats.streams <= 8 && stats.connections.iter().all(|(_, count)| *count <= 5), "{stats:?}");
    }
    let mut reported = HashMap::new();
    for _ in 0..STREAMS {
        let (stream, _, outcome) = soon(ends.reports.recv()).await.expect("a report");
        reported.entry(stream).or_insert_with(Vec::new).push(outcome);
    }
    // Each id exists once on each of the two connections.
    assert!(reported.len() as u64 == STREAMS / 2 && reported.values().all(|outcomes| outcomes.len() == 2));
    let stats = ends.receive.stats();
    assert_eq!((stats.streams, stats.peers.len(), stats.connections.len()), (0, 0, 0));
    assert!(stats.accepted + stats.refused <= STREAMS, "{stats:?}");
    assert!(ends.reports.try_recv().is_err(), "a stream was reported twice");
    reader.abort();
}
