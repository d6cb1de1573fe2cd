//! A peer that breaks `docs/wire.md` hurts nobody but itself. Written against that page with plain s2n-quic.

#![expect(clippy::expect_used, reason = "a test may")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use s2n_quic::stream::SendStream;
use tokio::time::timeout;
use weir_host::protocol::{Inbound, NativeEvent, Outgoing, ProtocolId, ProtocolSpec, native};
use weir_tests::node::{TestNode, until};
use weir_tests::raw::{
    Control, Entry, Hello, Outcome, PATIENCE, RawPeer, SetChange, frame, header, message, request, varint,
};

const ECHO: &str = "/echo/1.0.0";
const MALFORMED: u32 = 6;
const PROTOCOL_VIOLATION: u64 = 6;
const VERSION: u64 = 10;

fn echo() -> ProtocolId {
    ECHO.parse().expect("a protocol id")
}

/// Registers a handler that answers requests with what it got, and counts messages.
fn serve_echo(node: &TestNode) -> Result<Arc<std::sync::atomic::AtomicU64>> {
    let (handler, mut inbox) = native(16);
    let network = node.host.network();
    let spec = ProtocolSpec { id: echo(), delivery: Default::default(), max_message: 1 << 20 };
    network.register(spec, "echo", handler)?;
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Some(event) = inbox.next().await {
            let NativeEvent::Batch(batch) = event else { continue };
            for item in batch.items {
                match item {
                    Inbound::Message(_) => {
                        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    // What asks to be left alone is.
                    Inbound::Request { body, .. } if body.starts_with(b"silence") => {}
                    Inbound::Request { token, body, .. } => {
                        network.respond(token, Ok(body));
                    }
                }
            }
        }
    });
    Ok(count)
}

/// The node under test and an honest neighbour, whose requests must be answered whatever a hostile peer does.
struct Scene {
    victim: TestNode,
    honest: TestNode,
}

impl Scene {
    async fn new() -> Result<Self> {
        let (victim, honest) = (TestNode::start().await?, TestNode::start().await?);
        serve_echo(&victim)?;
        serve_echo(&honest)?;
        honest.connect(&victim).await?;
        let scene = Self { victim, honest };
        let network = scene.honest.host.network();
        let to = scene.victim.host.peer_id();
        until("echo can be reached", async || network.lane(&to, &echo()).is_ok()).await?;
        Ok(scene)
    }

    async fn hostile(&self, seed: u8) -> Result<(RawPeer, Hello)> {
        RawPeer::admitted(self.victim.host.local_address(), seed, &[ECHO]).await
    }

    /// Requests of the honest neighbour are answered.
    async fn neighbour_is_served(&self) -> Result<()> {
        let network = self.honest.host.network();
        let to = self.victim.host.peer_id();
        for at in 0..50_u64 {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let body = Bytes::copy_from_slice(&at.to_be_bytes());
            let id = network.next_ask();
            let reply = Box::new(move |outcome| drop(reply.send(outcome)));
            let ask = Outgoing::Ask { id, timeout: Duration::from_secs(5), body: body.clone(), reply };
            network.commit(&to, &echo(), vec![ask]);
            ensure!(answer.await.context("the ask was dropped")?? == body, "another answer");
        }
        Ok(())
    }
}

/// The header of the first stream of a lane to echo.
fn to_echo(hello: &Hello, seed: u8, lane: u64) -> Vec<u8> {
    header([hello.number(ECHO).expect("the node has echo"), 1, u64::from(seed) + 1, lane, 1, 0])
}

/// How the node says that a stream ended.
async fn ended(peer: &mut RawPeer, stream: &SendStream) -> Result<(u64, Outcome)> {
    let id = stream.id();
    peer.hear_until(|message| match message {
        Control::StreamEnded { stream, frames, outcome } if *stream == id => Some((*frames, outcome.clone())),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_keeps_to_the_page_is_served() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let bytes = [to_echo(&hello, 1, 1), message(b"one"), request(7, 5000, b"two")].concat();
    let mut stream = peer.open(bytes).await?;
    let mut answer = timeout(PATIENCE, peer.acceptor.accept_receive_stream()).await??.context("no answer")?;
    let mut got = Vec::new();
    while !got.ends_with(&frame(2, &[&[7][..], b"two"].concat())) {
        got.extend_from_slice(&timeout(PATIENCE, answer.receive()).await??.context("ended")?);
    }
    stream.finish()?;
    assert_eq!(ended(&mut peer, &stream).await?, (2, Outcome::Finished));
    peer.say(&Control::Ping(99)).await?;
    peer.hear_until(|message| (*message == Control::Pong(99)).then_some(())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_control_stream_closes_the_connection() -> Result<()> {
    let scene = Scene::new().await?;
    let node = scene.victim.host.local_address();
    let claims: [Vec<u8>; 4] = [varint(1 << 62), vec![0xff; 11], vec![3, 200, 1, 1], vec![0; 64]];
    for (seed, garbage) in (10..).zip(claims) {
        let mut before_hello = RawPeer::connect(node, seed).await?;
        before_hello.control.send(garbage.clone().into()).await?;
        assert_eq!(before_hello.closed().await?, Some(PROTOCOL_VIOLATION), "{garbage:?} instead of a hello");
        let (mut admitted, _) = scene.hostile(seed + 100).await?;
        admitted.control.send(garbage.clone().into()).await?;
        assert_eq!(admitted.closed().await?, Some(PROTOCOL_VIOLATION), "{garbage:?} after admission");
    }
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_out_of_turn_close_the_connection() -> Result<()> {
    let scene = Scene::new().await?;
    let node = scene.victim.host.local_address();
    let mut impatient = RawPeer::connect(node, 1).await?;
    impatient.say(&Control::Admitted).await?;
    assert_eq!(impatient.closed().await?, Some(PROTOCOL_VIOLATION), "admitted before its hello");
    let (mut twice, _) = scene.hostile(2).await?;
    twice.say(&Control::Hello(Hello::with(3, &[]))).await?;
    assert_eq!(twice.closed().await?, Some(PROTOCOL_VIOLATION), "a second hello");
    let mut many = RawPeer::connect(node, 3).await?;
    let entry = |at: u64| Entry { id: format!("/p{at}/1"), registration: at + 1, max_message: 1 };
    let protocols = (0..1025).map(entry).collect();
    many.say(&Control::Hello(Hello { sequence: 2000, protocols, ..Hello::with(4, &[]) })).await?;
    assert_eq!(many.closed().await?, Some(PROTOCOL_VIOLATION), "1,025 protocols");
    let (mut liar, _) = scene.hostile(4).await?;
    let change = SetChange::Full { protocols: vec![entry(1), entry(1)] };
    liar.say(&Control::Protocols { incarnation: 5, sequence: 9, change }).await?;
    assert_eq!(liar.closed().await?, Some(PROTOCOL_VIOLATION), "a protocol twice in a set");
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_data_stream_is_stopped_with_a_code_and_counted_exactly() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let number = hello.number(ECHO).context("no echo")?;
    let head = |lane| to_echo(&hello, 1, lane);
    let bad: [(&str, Vec<u8>, u64, u32); 8] = [
        ("a header too long", vec![200; 70], 0, MALFORMED),
        ("a header of nothing", vec![0, 0, 0], 0, MALFORMED),
        ("a frame of 2^62 bytes", [head(3), varint(1 << 62)].concat(), 0, 5),
        ("a message, then an unknown kind", [head(4), message(b"x"), frame(99, b"y")].concat(), 1, MALFORMED),
        ("a length of eleven bytes", [head(5), vec![0xff; 11]].concat(), 0, MALFORMED),
        ("an unregistered protocol", header([number + 77, 1, 2, 6, 1, 0]), 0, 1),
        ("a registration that is gone", header([0, 1, 2, 7, 1, 0]), 0, 1),
        ("another incarnation", header([number, 1, 3, 8, 1, 0]), 0, 11),
    ];
    for (what, bytes, frames, code) in bad {
        let stream = peer.open(bytes).await?;
        assert_eq!(ended(&mut peer, &stream).await?, (frames, Outcome::Stopped(code)), "{what}");
    }
    let mut cut = peer.open([head(9), message(b"whole"), varint(100), vec![0, 1, 2]].concat()).await?;
    cut.finish()?;
    assert_eq!(ended(&mut peer, &cut).await?, (1, Outcome::Stopped(MALFORMED)), "an end inside a frame");
    let mut good = peer.open([head(10), message(b"still served")].concat()).await?;
    good.finish()?;
    assert_eq!(ended(&mut peer, &good).await?, (1, Outcome::Finished), "the connection lives on");
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_half_sent_streams_hold_only_their_own_places() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let mut held = Vec::new();
    let most = hello.max_streams as usize;
    for lane in 1..=most as u64 / 2 {
        // A claim of a megabyte, and nothing of it.
        held.push(peer.open([to_echo(&hello, 1, lane), varint(1 << 20), vec![0]].concat()).await?);
    }
    while held.len() < most - 1 {
        // One byte of a header, for ever.
        held.push(peer.open(vec![12]).await?);
    }
    scene.neighbour_is_served().await?;
    let mut good = peer.open([to_echo(&hello, 1, 99), message(b"x")].concat()).await?;
    good.finish()?;
    assert_eq!(ended(&mut peer, &good).await?, (1, Outcome::Finished), "its own other streams are served, too");
    drop(peer);
    drop(held);
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_says_hello_is_let_go_while_others_are_served() -> Result<()> {
    let scene = Scene::new().await?;
    let mut silent = Vec::new();
    for seed in 0..10 {
        silent.push(RawPeer::connect(scene.victim.host.local_address(), seed).await?);
    }
    scene.neighbour_is_served().await?;
    for mut peer in silent {
        // A stream that was opened and never written is unseen by the node: silence in the strictest sense.
        assert_eq!(peer.closed().await?, Some(7), "hello timeout");
    }
    Ok(())
}

/// Is refused, says `Admitted` all the same, and more than the node takes ahead of its decision (256 KiB).
async fn talk_past_a_refusal(node: SocketAddr, seed: u8) -> Result<()> {
    let mut peer = RawPeer::connect(node, seed).await?;
    peer.say(&Control::Hello(Hello { version: 99, ..Hello::with(u64::from(seed) + 1, &[]) })).await?;
    peer.say(&Control::Admitted).await?;
    // Fails when the node closes before it has taken everything.
    let _ = timeout(PATIENCE, peer.control.send(Bytes::from(vec![0; 300 << 10]))).await?;
    ensure!(peer.closed().await? == Some(VERSION), "closed with another code");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_peers_that_talk_on_keep_no_place_of_those_that_wait_for_a_decision() -> Result<()> {
    let scene = Scene::new().await?;
    let node = scene.victim.host.local_address();
    // More than may wait for a decision at once (128).
    for batch in 0..9_u8 {
        let talkers: Vec<_> = (0..16).map(|at| tokio::spawn(talk_past_a_refusal(node, batch * 16 + at))).collect();
        for talker in talkers {
            talker.await??;
        }
    }
    let (_newcomer, _) = scene.hostile(200).await?;
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_that_never_comes_is_waited_for_ten_seconds_at_most() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let number = hello.number(ECHO).context("no echo")?;
    let stream = peer.open([header([number, 5000, 2, 1, 1, 0]), message(b"early")].concat()).await?;
    scene.neighbour_is_served().await?;
    assert_eq!(ended(&mut peer, &stream).await?, (0, Outcome::Stopped(7)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_limit_are_refused_as_busy() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let mut bytes = to_echo(&hello, 1, 1);
    for id in 0..1025 {
        bytes.extend(request(id, 60_000, b"silence"));
    }
    let _stream = peer.open(bytes).await?;
    let mut answers = timeout(PATIENCE, peer.acceptor.accept_receive_stream()).await??.context("no answer")?;
    let mut got = Vec::new();
    let busy = [&[3][..], &varint(1024), &[4], b"busy"].concat();
    while !got.windows(busy.len()).any(|part| part == busy) {
        got.extend_from_slice(&timeout(PATIENCE, answers.receive()).await??.context("ended")?);
    }
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_and_answers_out_of_nowhere_change_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    for stream in [0, 1, 2, 3, 400, u64::MAX] {
        peer.say(&Control::Abandon { stream }).await?;
        peer.say(&Control::StreamProgress { stream, frames: u64::MAX }).await?;
        peer.say(&Control::StreamEnded { stream, frames: u64::MAX, outcome: Outcome::Finished }).await?;
        peer.say(&Control::StreamEnded { stream, frames: 0, outcome: Outcome::Stopped(77) }).await?;
        peer.say(&Control::ProtocolsApplied { incarnation: stream, sequence: u64::MAX }).await?;
        peer.say(&Control::Pong(stream)).await?;
    }
    let answers = [frame(2, &[5, 1]), frame(3, &[5, 1, b'c', 1, b'm']), frame(4, &[9])].concat();
    // Lane 99 is past every stream id above, so none of the abandons was about it.
    let mut stream = peer.open([to_echo(&hello, 1, 99), answers, message(b"x")].concat()).await?;
    stream.finish()?;
    let (_, outcome) = ended(&mut peer, &stream).await?;
    ensure!(matches!(outcome, Outcome::Finished | Outcome::Stopped(3)), "{outcome:?}");
    peer.say(&Control::Ping(1)).await?;
    peer.hear_until(|message| (*message == Control::Pong(1)).then_some(())).await?;
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_and_never_reads_is_stopped_before_answers_pile_up() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut peer, hello) = scene.hostile(1).await?;
    let mut stream = peer.open(to_echo(&hello, 1, 1)).await?;
    // First what fills the lane with answers that nobody reads; then requests too small to matter, but for their number.
    let large = (0..60).map(|id| request(id, 60_000, &[7; 256 << 10]));
    // More than fits the buffers of both sides, so that the stop comes before the end.
    let small = (1..10_000).map(|batch| (0..100).flat_map(|at| request(batch * 100 + at, 60_000, b"x")).collect());
    let asking = async {
        for bytes in large.chain(small) {
            if let Err(stopped) = stream.send(Bytes::from(bytes)).await {
                return Some(stopped);
            }
        }
        None
    };
    // The report of the end is no use here: the unread answers have used up the peer's own connection window.
    let stopped = timeout(PATIENCE, asking).await.context("neither stopped nor taken")?;
    let code = match stopped.context("a million answers were taken")? {
        s2n_quic::stream::Error::StreamReset { error, .. } => *error,
        other => return Err(other.into()),
    };
    assert_eq!(code, 12);
    scene.neighbour_is_served().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_beside_the_first_is_taken_within_the_limit_and_refused_beyond_it() -> Result<()> {
    for limit in 1..=2 {
        let node = TestNode::start_with(|config| config.limits.connections_per_peer = limit).await?;
        let address = node.address().address;
        let (mut first, _) = RawPeer::admitted(address, 9, &["/t/1"]).await?;
        let mut decisions = Vec::new();
        for dial in 2..=u64::from(limit) + 1 {
            let mut more = RawPeer::connect(address, 9).await?;
            more.say(&Control::Hello(Hello { dial, beside: true, ..Hello::with(10, &["/t/1"]) })).await?;
            let Control::Hello(hello) = more.hear().await? else { bail!("no hello") };
            ensure!(!hello.beside && hello.dial == 0, "the dialed side says neither: {hello:?}");
            more.say(&Control::Admitted).await?;
            let decision = more.hear().await?;
            if decision == Control::Admitted {
                // Until it is admitted by both, a further one may take its place.
                more.say(&Control::Ping(76)).await?;
                until_pong(&mut more, 76).await?;
            }
            decisions.push((decision, more));
        }
        for (at, (decision, _)) in decisions.iter().enumerate() {
            match decision {
                Control::Admitted => ensure!(at as u32 + 2 <= limit, "number {at} beside, of {limit}"),
                Control::Refused { code: 2, reason } => {
                    let words = format!("peer has {limit} of {limit} connections; raise `limits.connections_per_peer`");
                    ensure!(at as u32 + 2 > limit && *reason == words, "{reason}");
                }
                other => bail!("{other:?}"),
            }
        }
        // Nothing has touched the first one.
        first.say(&Control::Ping(77)).await?;
        until_pong(&mut first, 77).await?;
        // A dial that does not say `beside` replaces them all.
        let mut again = RawPeer::connect(address, 9).await?;
        again.say(&Control::Hello(Hello { dial: 4, ..Hello::with(10, &["/t/1"]) })).await?;
        let Control::Hello(_) = again.hear().await? else { bail!("no hello") };
        again.say(&Control::Admitted).await?;
        ensure!(matches!(again.hear().await?, Control::Admitted), "admitted in their place");
        ensure!(until_pong(&mut first, 78).await.is_err(), "the first one is gone");
    }
    Ok(())
}

async fn until_pong(peer: &mut RawPeer, number: u64) -> Result<()> {
    loop {
        match peer.hear().await? {
            Control::Pong(answer) if answer == number => return Ok(()),
            Control::Refused { .. } => bail!("refused"),
            _ => {}
        }
    }
}
