//! Poison: what becomes of an event that a plugin fails on, of its sender, of everybody else, and of a plugin that fails
//! too often.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod muting;
mod quarantine;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use weir_host::peer::PeerId;
use weir_host::plugin::store::{MemoryDisk, Store};
use weir_host::plugin::{
    CallError, Caller, DeadLetter, LetterEvent, MutePolicy, PluginError, PluginInfo, PluginPolicy, PluginSettings,
    PluginSource, PluginState, Plugins, SupervisionPolicy,
};
use weir_host::protocol::{AskError, Delivery, NativeEvent, Network, News, Outgoing, ProtocolId, ProtocolSpec, native};
use weir_tests::guests::guest;
use weir_tests::mock_network::MockNetwork;
use weir_tests::node::{TestNode, until};
use weir_tests::plugins::config;

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "poisonable";
const ATTACKER: u8 = 1;
const HONEST: u8 = 2;

struct Node {
    network: Arc<MockNetwork>,
    plugins: Plugins,
    store: Store,
}

fn policy() -> PluginPolicy {
    PluginPolicy { turn_time: Duration::from_millis(200), ..PluginPolicy::default() }
}

/// Crashes and poison without end, to look at one thing at a time.
fn patient() -> PluginPolicy {
    let supervision = SupervisionPolicy { crashes: 1_000_000, backoff: Duration::ZERO, ..SupervisionPolicy::default() };
    let mute = MutePolicy { poisons: 1_000_000, ..MutePolicy::default() };
    PluginPolicy { supervision, mute, ..policy() }
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

fn protocol() -> ProtocolId {
    format!("/{NAME}/1").parse().expect("a protocol id")
}

fn source() -> PluginSource {
    let settings = PluginSettings { config: Value::Null, ..PluginSettings::default() };
    PluginSource { bytes: guest(NAME), path: Some("x.wasm".into()), settings }
}

/// The same code in another file, as a new version is.
fn another() -> PluginSource {
    let mut source = source();
    // A section of two bytes that nobody reads: its name, `x`.
    source.bytes.extend([0, 2, 1, b'x']);
    source
}

impl Node {
    async fn start(policy: PluginPolicy) -> Self {
        let node = Self::on(&MemoryDisk::default(), policy);
        node.plugins.load(source()).await.expect("it loads");
        node.network.connect(peer(ATTACKER));
        node.network.connect(peer(HONEST));
        node
    }

    fn on(disk: &MemoryDisk, policy: PluginPolicy) -> Self {
        let (network, store) = (Arc::new(MockNetwork::default()), Store::in_memory(disk));
        let config = config(&network, store.clone(), policy);
        Self { network, plugins: Plugins::start(config).expect("an engine"), store }
    }

    /// False when it is not taken.
    async fn send(&self, from: u8, bodies: &[&[u8]]) -> bool {
        self.network.deliver(peer(from), &protocol(), bodies).await
    }

    async fn call(&self, command: &str) -> Result<Value, CallError> {
        let caller = Caller::Operator("test".to_owned());
        let answer = self.plugins.call(NAME, command, Bytes::from_static(b"null"), caller, PATIENCE).await?;
        Ok(serde_json::from_slice(&answer).expect("JSON"))
    }

    fn info(&self) -> PluginInfo {
        self.plugins.list().into_iter().find(|info| info.name == NAME).expect("it is listed")
    }

    fn letters(&self) -> Vec<DeadLetter> {
        self.plugins.dead_letters(NAME).expect("letters")
    }

    async fn dropped(&self, count: u64) {
        until("the events are put aside", async || self.info().counters.dropped >= count).await.expect("in time");
    }

    async fn is(&self, state: PluginState) {
        until("it is in that state", async || self.info().state == state).await.expect("in time");
    }

    async fn count(&self, what: &str) -> u64 {
        self.call("stats").await.expect("an answer")[what].as_u64().unwrap_or(0)
    }

    fn muted(&self) -> Vec<PeerId> {
        self.info().muted.into_iter().map(|muted| muted.peer).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_says_everything_and_can_be_tried_again() {
    let node = Node::start(policy()).await;
    assert!(node.send(ATTACKER, &[b"a", b"poison", b"b"]).await);
    node.dropped(1).await;
    let error = node.call("panic").await.expect_err("it panics");
    assert_eq!(error.code(), "plugin-crashed");
    node.call("timer").await.expect("an answer");
    node.dropped(3).await;
    let letters = node.letters();
    let lane = LetterEvent::Message { peer: peer(ATTACKER), protocol: protocol() };
    assert_eq!(letters[0].event, lane);
    assert!(matches!(&letters[1].event, LetterEvent::Command { command, .. } if command == "panic"));
    assert_eq!(letters[2].event, LetterEvent::Timer { timer: 13 });
    // `printf poison | sha256sum`
    assert_eq!(letters[0].sha256, "5743abddddfa08c1e3a99fdebc2e8f3f1108fa12dcd2a8f58a42f141418c22ec");
    let report = &letters[0].report;
    let panic = report.failure.panic.as_ref().expect("the hook told");
    assert!(panic.message.contains("that was poison") && panic.location.contains("poisonable.rs:"), "{panic:?}");
    assert!(report.failure.backtrace.iter().any(|name| name.contains("poison")), "{:?}", report.failure.backtrace);
    assert_eq!((report.plugin.as_str(), report.peer, report.revision), (NAME, Some(peer(ATTACKER)), 1));
    assert!(report.next_step.contains("dead-letters"), "{}", report.next_step);
    assert_eq!(node.plugins.dead_letter(NAME, letters[0].id).expect("it is there").1, "poison");

    // The third crash within a minute makes the next start wait a little.
    node.is(PluginState::Active).await;
    let again = node.plugins.retry(NAME, letters[0].id).await.expect_err("nothing has changed");
    assert!(matches!(&again, PluginError::RetryFailed { report, .. } if report.event == "message"), "{again}");
    assert_eq!((again.code(), node.letters()[0].retries), ("retry-failed", 1));
    until("it runs again", async || node.call("mend").await.is_ok()).await.expect("in time");
    for letter in &letters {
        node.plugins.retry(NAME, letter.id).await.expect("it is mended");
    }
    assert_eq!(node.letters(), []);
    assert_eq!((node.count("poison").await, node.count("timer").await, node.count("a").await), (1, 1, 1));
    let unknown = node.plugins.retry(NAME, 99).await.expect_err("there is none");
    assert_eq!(unknown.code(), "unknown-dead-letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_survive_the_node_and_wait_for_their_peer() {
    let disk = MemoryDisk::default();
    let node = Node::on(&disk, policy());
    node.plugins.load(source()).await.expect("it loads");
    node.network.connect(peer(ATTACKER));
    node.send(ATTACKER, &[b"poison"]).await;
    node.dropped(1).await;
    node.plugins.unload(NAME).await.expect("it is loaded");
    node.store.close().await.expect("closed");
    let node = Node::on(&disk, policy());
    assert_eq!(node.letters().len(), 1, "the plugin need not be loaded");
    node.plugins.load(source()).await.expect("it loads");
    assert_eq!(node.info().counters.dead_letters, 1);
    let error = node.plugins.retry(NAME, 1).await.expect_err("its peer is not there");
    assert_eq!(error.code(), "not-retried");
    node.network.connect(peer(ATTACKER));
    node.call("mend").await.expect("an answer");
    node.plugins.retry(NAME, 1).await.expect("now it is");
    node.plugins.drop_letter(NAME, 1).await.expect_err("it was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_but_the_poison_of_a_full_batch_is_handled_once() {
    let node = Node::start(patient()).await;
    let bodies: Vec<_> = (0..250).map(|n| if n % 5 == 2 { "poison".to_owned() } else { format!("m-{n}") }).collect();
    let slices: Vec<_> = bodies.iter().map(String::as_bytes).collect();
    assert!(node.send(ATTACKER, &slices).await);
    node.dropped(50).await;
    until("the loss is told", async || node.count("missed").await == 50).await.expect("in time");
    let stats = node.call("stats").await.expect("an answer");
    for body in bodies.iter().filter(|body| *body != "poison") {
        assert_eq!(stats[body], 1, "{body} in {stats}");
    }
    assert_eq!((node.letters().len(), node.info().counters.dead_letters), (50, 50));
}

/// What poison costs when nobody is muted for it: the time in which the plugin does nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_poison_costs() {
    const POISONS: u64 = 200;
    let node = Node::start(patient()).await;
    node.send(HONEST, &[b"fine"]).await;
    let start = Instant::now();
    for round in 1..=POISONS {
        node.send(ATTACKER, &[b"poison"]).await;
        while node.info().counters.dropped < round {
            tokio::task::yield_now().await;
        }
    }
    let counters = node.info().counters;
    let each = start.elapsed() / POISONS as u32;
    eprintln!(
        "{POISONS} poisons: {each:?} each; {} failed turns, {} restarts, {} replays, {} trials",
        counters.crashes, counters.restarts, counters.replays, counters.trials
    );
    assert_eq!((counters.dropped, counters.trials), (POISONS, POISONS));
    assert!(counters.restarts <= 3 * POISONS, "to go on, to try it alone, and to go on again");
}
