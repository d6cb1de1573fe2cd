//! A handler that stops reading holds up its own protocol and nothing else: the others between the same two nodes keep
//! their rate, and what waits for it stays within the computed bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_host::peer::PeerId;
use weir_host::protocol::{Inbox, NativeEvent, Network, News, ProtocolId, ProtocolSpec, SendError, native};
use weir_host::stream::ReceivePolicy;
use weir_tests::node::{TestNode, until};
use weir_tests::process::resident;

/// The share of their rate that the others must keep.
const KEPT: f64 = 0.95;
const BODY: usize = 1024;
const FREE: [&str; 3] = ["/b/1", "/c/1", "/d/1"];

/// One protocol between the two nodes: one side sends as fast as it may, the other counts what it reads.
struct Flow {
    sending: watch::Sender<bool>,
    reading: watch::Sender<bool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    tasks: [JoinHandle<()>; 2],
}

impl Flow {
    async fn start(name: &str, from: &TestNode, to: &TestNode) -> Result<Self> {
        let id: ProtocolId = name.parse()?;
        let spec = ProtocolSpec { id: id.clone(), delivery: Default::default(), max_message: 64 << 10 };
        let (handler, outbox) = native(4);
        from.host.network().register(spec.clone(), "sender", handler)?;
        let (handler, inbox) = native(4);
        to.host.network().register(spec, name, handler)?;
        let (network, peer) = (from.host.network(), to.host.peer_id());
        until("the protocol can be reached", async || network.lane(&peer, &id).is_ok()).await?;
        let (sending, may_send) = watch::channel(false);
        let (reading, may_read) = watch::channel(true);
        let (sent, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let tasks = [
            tokio::spawn(send(network, peer, id, outbox, may_send, sent.clone())),
            tokio::spawn(read(inbox, may_read, received.clone())),
        ];
        Ok(Self { sending, reading, sent, received, tasks })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops its sender and waits until everything has come.
    async fn settle(&self) -> Result<()> {
        self.sending.send_replace(false);
        self.reading.send_replace(true);
        until("everything is read", async || self.received() == self.sent.load(Ordering::Relaxed)).await
    }

    /// Lets it send against a reader that takes nothing, until nothing more goes.
    async fn stall(&self) -> Result<()> {
        self.reading.send_replace(false);
        self.sending.send_replace(true);
        let mut last = u64::MAX;
        until("the stalled protocol is full", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let sent = self.sent.load(Ordering::Relaxed);
            std::mem::replace(&mut last, sent) == sent
        })
        .await
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn send(
    network: Arc<dyn Network>,
    to: PeerId,
    id: ProtocolId,
    mut outbox: Inbox,
    mut may_send: watch::Receiver<bool>,
    sent: Arc<AtomicU64>,
) {
    let body = Bytes::from(vec![7; BODY]);
    loop {
        if may_send.wait_for(|may| *may).await.is_err() {
            return;
        }
        match network.send(&to, &id, body.clone()) {
            Ok(()) => {
                if sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
            }
            Err(SendError::Busy) => {
                while !matches!(outbox.next().await, Some(NativeEvent::News(News::Relieved { .. })) | None) {}
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

async fn read(mut inbox: Inbox, mut may_read: watch::Receiver<bool>, received: Arc<AtomicU64>) {
    loop {
        if may_read.wait_for(|may| *may).await.is_err() {
            return;
        }
        match inbox.next().await {
            Some(NativeEvent::Batch(batch)) => drop(received.fetch_add(batch.items.len() as u64, Ordering::Relaxed)),
            Some(NativeEvent::News(_)) => {}
            None => return,
        }
    }
}

/// Messages a second of all flows together.
async fn rate(flows: &[Flow], during: Duration) -> f64 {
    let count = || flows.iter().map(Flow::received).sum::<u64>();
    let (before, began) = (count(), Instant::now());
    tokio::time::sleep(during).await;
    (count() - before) as f64 / began.elapsed().as_secs_f64()
}

/// Runs A against B, C and D: `rounds` times free and stalled by turns, so that a busy machine slows both alike.
async fn isolate(rounds: usize, free: Duration, stalled: Duration) -> Result<()> {
    let (from, to) = (TestNode::start().await?, TestNode::start().await?);
    from.connect(&to).await?;
    let slow = Flow::start("/a/1", &from, &to).await?;
    let mut others = Vec::new();
    for name in FREE {
        others.push(Flow::start(name, &from, &to).await?);
    }
    for flow in &others {
        flow.sending.send_replace(true);
    }
    rate(&others, Duration::from_secs(1)).await;
    let memory = resident("self")?;
    let mut kept = Vec::new();
    for _ in 0..rounds {
        slow.settle().await?;
        let before = rate(&others, free).await;
        slow.stall().await?;
        let during = rate(&others, stalled).await;
        slow.settle().await?;
        let after = rate(&others, free).await;
        let alone = f64::midpoint(before, after);
        eprintln!("B, C and D: {alone:.0}/s alone, {during:.0}/s beside A that is stalled ({:.3})", during / alone);
        kept.push(during / alone);
    }
    kept.sort_unstable_by(f64::total_cmp);
    let median = kept[rounds / 2];
    let grown = resident("self")?.saturating_sub(memory);
    let config = weir_host::config::Config::default();
    let assembly = ReceivePolicy::assembly_for(config.limits.max_message) as u64;
    // Both ends are in this process.
    let bound = 2 * config.limits.streams().connection_memory(assembly);
    eprintln!("they keep {median:.3}; memory grew by {} KiB of {} KiB", grown >> 10, bound >> 10);
    assert!(median >= KEPT, "they keep {median:.3} of their rate");
    assert!(grown <= bound, "{grown} bytes more, the bound is {bound}");
    for flow in others {
        flow.settle().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_protocol_takes_nothing_from_the_others() -> Result<()> {
    // Many short rounds: a machine with other work to do disturbs some of them, not most.
    isolate(11, Duration::from_millis(300), Duration::from_millis(600)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes: `cargo xtask test --test isolation -- --ignored --nocapture`"]
async fn a_handler_that_reads_nothing_for_a_minute() -> Result<()> {
    isolate(1, Duration::from_secs(30), Duration::from_secs(60)).await
}
