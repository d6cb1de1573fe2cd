//! Handlers that come, change and go while messages are on their way: each message is handed over once, to the handler
//! that it was meant for, or is counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::testing::*;
use super::*;
use crate::peer::PeerId;
use crate::transport::testing::soon;

const PROTOCOL: &str = "/traffic/1";

/// What became of messages, on either side.
#[derive(Default)]
struct Tally {
    missed: AtomicU64,
    undelivered: AtomicU64,
    delivered: AtomicU64,
}

impl Tally {
    fn total(&self) -> u64 {
        let all = [&self.missed, &self.undelivered, &self.delivered];
        all.map(|count| count.load(Ordering::SeqCst)).iter().sum()
    }

    /// Counts one event; the messages in it.
    fn take(&self, event: NativeEvent) -> Vec<Bytes> {
        match event {
            NativeEvent::News(News::Missed { messages, .. }) => drop(self.missed.fetch_add(messages, Ordering::SeqCst)),
            NativeEvent::News(News::Undelivered { messages, .. }) => {
                self.undelivered.fetch_add(messages, Ordering::SeqCst);
            }
            NativeEvent::News(_) => {}
            NativeEvent::Batch(batch) => {
                self.delivered.fetch_add(batch.items.len() as u64, Ordering::SeqCst);
                let body = |item| if let Inbound::Message(body) = item { body } else { panic!("{item:?}") };
                return batch.items.into_iter().map(body).collect();
            }
        }
        Vec::new()
    }

    /// Reads an inbox to its end; what was delivered.
    async fn read(self: Arc<Self>, mut inbox: Inbox) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let Some(event) = inbox.next().await {
            all.extend(self.take(event));
        }
        all
    }
}

/// A message says its number, and which registrations of the sender and of the receiver it was sent by and to.
fn body(number: u64, by: u64, to: u64) -> Bytes {
    [number, by, to].iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<_>>().into()
}

fn parts(body: &[u8]) -> [u64; 3] {
    [0, 8, 16].map(|at| u64::from_be_bytes(body[at..at + 8].try_into().expect("8 bytes")))
}

/// Sends so many messages, whenever it can: each on the pair that is open then, like a commit that has looked it up.
async fn send_all(from: ProtocolManager, to: PeerId, count: u64) {
    let (protocol, mut number) = (name(PROTOCOL), 0);
    while number < count {
        let pair = from.inner.pairs.peer(&to).and_then(|of_peer| of_peer.get(&protocol));
        match pair.filter(|pair| pair.lane.room() > 0) {
            Some(pair) => {
                let body = body(number, pair.registration.number, pair.remote_registration);
                from.inner.put(&to, &protocol, &pair, vec![Outgoing::Message(body)]);
                number += 1;
            }
            None => tokio::task::yield_now().await,
        }
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Two managers with so many connections, and the valves of each.
async fn two(connections: u64) -> (Side, Side, Vec<(Valve, Valve)>) {
    let (near, far) = (Side::near(1), Side::far(2));
    let mut valves = Vec::new();
    for id in 1..=connections {
        let (near_end, far_end) = join(&near, &far, id).await;
        valves.push(carry((&near, near_end), (&far, far_end)));
    }
    (near, far, valves)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_while_both_ends_register_anew_is_delivered_once_or_counted() {
    churn(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_two_connections_of_which_one_brings_no_sets() {
    churn(2).await;
}

/// Sends all the time, while either end unregisters its handler and registers another.
async fn churn(connections: u64) {
    const COUNT: u64 = 30_000;
    const ROUNDS: usize = 40;
    let (near, far, valves) = two(connections).await;
    for (of_near, of_far) in valves.iter().skip(1) {
        of_near.send_replace(false);
        of_far.send_replace(false);
    }
    let (sent, received) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    senders.spawn(sent.clone().read(near.register(PROTOCOL)));
    let register = |receivers: &mut JoinSet<_>| {
        let (inbox, tally) = (far.register(PROTOCOL), received.clone());
        let number = far.protocols.inner.registry.named(&name(PROTOCOL)).expect("registered").number;
        receivers.spawn(async move { (number, tally.read(inbox).await) });
    };
    register(&mut receivers);
    let sending = tokio::spawn(send_all(near.protocols.clone(), far.peer, COUNT));
    for round in 0..ROUNDS {
        // Some traffic first, so that there is something to lose.
        let target = received.delivered.load(Ordering::SeqCst) + 100;
        until("traffic", || received.delivered.load(Ordering::SeqCst) > target || sending.is_finished()).await;
        if round % 3 == 0 {
            near.protocols.unregister(&name(PROTOCOL));
            senders.spawn(sent.clone().read(near.register(PROTOCOL)));
        } else {
            far.protocols.unregister(&name(PROTOCOL));
            register(&mut receivers);
        }
    }
    timeout(Duration::from_secs(60), sending).await.expect("in time").expect("no panic");
    let all = || received.total() + sent.total() + near.protocols.stats().unclaimed;
    let told = || format!("{:?} of {COUNT}", [&received.delivered, &received.missed, &sent.undelivered]);
    if timeout(Duration::from_secs(20), async {
        while all() < COUNT {
            tokio::task::yield_now().await
        }
    })
    .await
    .is_err()
    {
        panic!("lost silently: {}", told());
    }
    near.protocols.close();
    far.protocols.close();
    let mut seen = BTreeSet::new();
    while let Some(registration) = receivers.join_next().await {
        let (ours, messages) = registration.expect("no panic");
        let mut last = (0, None);
        for [number, by, to] in messages.iter().map(|body| parts(body)) {
            assert!(seen.insert(number), "{number} came twice");
            assert!(to == ours, "{number} was meant for registration {to} and came to {ours}");
            assert!(last.1 < Some(number) && last.0 <= by, "{number} came out of order");
            last = (by, Some(number));
        }
    }
    assert_eq!(all(), COUNT, "counted twice: {}", told());
    assert!(sent.undelivered.load(Ordering::SeqCst) > 0, "nothing was ever in flight: {}", told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_replaced_under_traffic_lose_nothing_and_keep_the_order() {
    const COUNT: u64 = 20_000;
    let (near, far, _valves) = two(1).await;
    let (sent, received) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let sender = tokio::spawn(sent.clone().read(near.register(PROTOCOL)));
    let mut readers = vec![tokio::spawn(received.clone().read(far.register(PROTOCOL)))];
    let sending = tokio::spawn(send_all(near.protocols.clone(), far.peer, COUNT));
    for round in 1..=20 {
        let target = received.delivered.load(Ordering::SeqCst) + 100;
        until("traffic", || received.delivered.load(Ordering::SeqCst) > target || sending.is_finished()).await;
        // Room for one batch only, so that the next is waiting for room most of the time.
        let (handler, inbox) = native(1);
        far.protocols.replace(&name(PROTOCOL), &format!("handler {round}"), handler).expect("registered");
        readers.push(tokio::spawn(received.clone().read(inbox)));
    }
    timeout(Duration::from_secs(60), sending).await.expect("in time").expect("no panic");
    until("all are there", || received.delivered.load(Ordering::SeqCst) == COUNT).await;
    near.protocols.close();
    far.protocols.close();
    let mut expected = 0;
    for reader in readers {
        for body in reader.await.expect("no panic") {
            assert_eq!(parts(&body)[0], expected, "each once, in order over all handlers");
            expected += 1;
        }
    }
    sender.await.expect("no panic");
    assert_eq!((sent.total(), received.total()), (0, COUNT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_handler_that_reads_nothing_holds_up_nobody() {
    let (near, far, _valves) = two(1).await;
    let mut at_near = near.register(PROTOCOL);
    let (handler, mut first) = native(1);
    far.protocols.register(spec(PROTOCOL), "first", handler).expect("free");
    assert_eq!(next(&mut at_near).await, supported(far.peer, PROTOCOL));
    let send = |number| near.protocols.send(&far.peer, &name(PROTOCOL), body(number, 0, 0)).expect("room");
    for number in 0..2 {
        send(number);
        // One read each: the first fills the inbox, the second waits before it.
        let streams = || far.protocols.inner.pairs.peer(&near.peer).is_some();
        until("connected", streams).await;
        if number == 0 {
            until("the inbox is full", || first.waiting() == 1).await;
        }
    }
    let (handler, mut second) = native(8);
    far.protocols.replace(&name(PROTOCOL), "second", handler).expect("registered");
    assert_eq!(next(&mut second).await, supported(near.peer, PROTOCOL));
    send(2);
    let mut came = Vec::new();
    while came.len() < 2 {
        came.extend(next_messages(&mut second).await.iter().map(|body| parts(body)[0]));
    }
    assert_eq!(came, [1, 2], "what waited for room, and what came after it");
    assert_eq!(next(&mut first).await, supported(near.peer, PROTOCOL));
    assert_eq!(next_messages(&mut first).await.len(), 1, "what it took stays with it");
    assert_eq!(next(&mut first).await, unsupported(near.peer, PROTOCOL));
    assert_eq!(first.next().await, None);
}

/// A handler that implements only what it must, and never has room.
struct Stuck;

impl Handler for Stuck {
    fn deliver(&self, _: InBatch) -> Delivered<'_> {
        Box::pin(std::future::pending())
    }

    fn news(&self, _: News) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_a_handler_that_knows_nothing_of_replacement_goes_to_the_next() {
    let (near, far, _valves) = two(1).await;
    let mut at_near = near.register(PROTOCOL);
    far.protocols.register(spec(PROTOCOL), "stuck", Arc::new(Stuck)).expect("free");
    assert_eq!(next(&mut at_near).await, supported(far.peer, PROTOCOL));
    near.protocols.send(&far.peer, &name(PROTOCOL), body(0, 0, 0)).expect("room");
    until("its stream is there", || far.protocols.receive_stats().streams == 1).await;
    let (handler, mut inbox) = native(1);
    far.protocols.replace(&name(PROTOCOL), "next", handler).expect("registered");
    assert_eq!(next_messages(&mut inbox).await, [body(0, 0, 0)]);
    // Unregistering ends what waits, too.
    far.protocols.replace(&name(PROTOCOL), "stuck again", Arc::new(Stuck)).expect("registered");
    near.protocols.send(&far.peer, &name(PROTOCOL), body(1, 0, 0)).expect("room");
    far.protocols.unregister(&name(PROTOCOL));
    let undelivered = News::Undelivered { peer: far.peer, protocol: name(PROTOCOL), messages: 1 };
    let told = async { while next(&mut at_near).await != NativeEvent::News(undelivered.clone()) {} };
    soon(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_told_by_its_stream_at_once_and_by_the_set_later() {
    let (near, far) = (Side::near(1), Side::far(2));
    let (near_end, far_end) = join(&near, &far, 1).await;
    let (_, far_says) = carry((&near, near_end), (&far, far_end));
    let (mut at_near, at_far) = (near.register(PROTOCOL), far.register(PROTOCOL));
    assert_eq!(next(&mut at_near).await, supported(far.peer, PROTOCOL));
    let send = |number| near.protocols.send(&far.peer, &name(PROTOCOL), body(number, 0, 0));
    assert_eq!(send(0), Ok(()));
    until("the first is there", || at_far.waiting() == 1).await;
    far_says.send_replace(false);
    far.protocols.unregister(&name(PROTOCOL));
    until("its stream is stopped", || far.protocols.stats().cut == 1).await;
    // No set comes, and still the sender hears, from its stream.
    let mut sent = 1;
    let congested = NativeEvent::News(News::Congested { peer: far.peer, protocol: name(PROTOCOL) });
    let mut undelivered = 0;
    loop {
        if send(sent).is_ok() {
            sent += 1;
        }
        match timeout(Duration::from_millis(5), at_near.next()).await {
            Err(_) => {}
            Ok(Some(NativeEvent::News(News::Undelivered { messages, .. }))) => undelivered += messages,
            Ok(event) => {
                assert_eq!(event, Some(congested));
                break;
            }
        }
    }
    assert_eq!(send(sent), Err(SendError::Busy), "it is known to be gone here, before any set says so");
    far_says.send_replace(true);
    loop {
        match next(&mut at_near).await {
            NativeEvent::News(News::Undelivered { messages, .. }) => undelivered += messages,
            NativeEvent::News(News::Congested { .. }) => {}
            event => {
                assert_eq!(event, unsupported(far.peer, PROTOCOL));
                break;
            }
        }
    }
    assert_eq!(send(sent), Err(SendError::Unsupported));
    // The first was handed over and purged there; all the others are counted here.
    assert_eq!(undelivered, sent - 1);
    let seen = near.protocols.stats().traffic;
    assert_eq!((seen.accepted, seen.undelivered), (sent, undelivered));
    assert_eq!(far.protocols.stats().traffic, TrafficStats { delivered: 1, ..TrafficStats::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_after_the_own_registration_went_is_counted() {
    let (near, far, _valves) = two(1).await;
    let (mut at_near, _at_far) = (near.register(PROTOCOL), far.register(PROTOCOL));
    assert_eq!(next(&mut at_near).await, supported(far.peer, PROTOCOL));
    near.protocols.unregister(&name(PROTOCOL));
    let messages = (0..3).map(|number| Outgoing::Message(body(number, 0, 0))).collect();
    near.protocols.commit(&far.peer, &name(PROTOCOL), messages);
    assert_eq!(near.protocols.stats().unclaimed, 3);
    let mut again = near.register(PROTOCOL);
    far.protocols.unregister(&name(PROTOCOL));
    let reachable = || near.protocols.lane(&far.peer, &name(PROTOCOL)).is_ok();
    until("it is gone at the peer", || !reachable()).await;
    near.protocols.commit(&far.peer, &name(PROTOCOL), vec![Outgoing::Message(body(3, 0, 0))]);
    let undelivered = News::Undelivered { peer: far.peer, protocol: name(PROTOCOL), messages: 1 };
    assert_eq!(next(&mut again).await, NativeEvent::News(undelivered));
    let traffic = near.protocols.stats().traffic;
    assert_eq!((traffic.accepted, traffic.undelivered), (4, 1), "and three are unclaimed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_reached_while_one_of_its_connections_is_not_drained() {
    let (near, far) = (Side::near(1), Side::far(2));
    let (_at_near, mut at_far) = (near.register(PROTOCOL), far.register(PROTOCOL));
    let (first, far_first) = join(&near, &far, 1).await;
    let (second, far_second) = join(&near, &far, 2).await;
    let lane = || near.protocols.lane(&far.peer, &name(PROTOCOL)).map(drop);
    near.drain(&first);
    soon(first.handle.drained.notified()).await;
    assert_eq!(lane(), Ok(()));
    near.protocols.send(&far.peer, &name(PROTOCOL), body(7, 0, 0)).expect("by the second");
    assert_eq!(next_messages(&mut at_far).await, [body(7, 0, 0)]);
    near.drain(&second);
    assert_eq!(lane(), Err(SendError::NotConnected), "all are drained");
    let (third, far_third) = join(&near, &far, 3).await;
    assert_eq!(lane(), Ok(()));
    near.down(&first, false);
    near.drain(&third);
    assert_eq!(lane(), Err(SendError::NotConnected));
    let (fourth, far_fourth) = join(&near, &far, 4).await;
    near.drain(&fourth);
    let (fifth, far_fifth) = join(&near, &far, 5).await;
    assert_eq!(lane(), Ok(()));
    near.down(&fifth, false);
    assert_eq!(lane(), Err(SendError::NotConnected), "the one that was not drained is gone");
    drop((far_first, far_second, far_third, far_fourth, far_fifth));
}
