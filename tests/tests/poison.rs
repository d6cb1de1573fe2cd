//! Poison: what becomes of an event that a plugin fails on, of its sender, of everybody else, and of a plugin that fails
//! too often.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_poisons_is_muted_and_nobody_else() {
    let mute = MutePolicy { first: Duration::from_secs(2), ..MutePolicy::default() };
    let node = Node::start(PluginPolicy { mute, ..policy() }).await;
    let mut sent = 0;
    until("the attacker is muted", async || {
        assert!(node.send(HONEST, &[b"honest"]).await, "an honest peer is always heard");
        sent += 1;
        !node.send(ATTACKER, &[b"poison", b"poison", b"behind"]).await
    })
    .await
    .expect("in time");
    assert_eq!(node.muted(), [peer(ATTACKER)]);
    let info = node.info();
    assert_eq!((info.state, node.letters().len()), (PluginState::Active, 3), "the rest was not even tried");
    assert_eq!(info.counters.trials, 3);
    assert!(json!(info)["muted"][0]["reason"].as_str().is_some_and(|why| why.contains("poisonable.rs")));
    assert_eq!(node.count("honest").await, sent);
    until("its time is over", async || node.send(ATTACKER, &[b"nice"]).await).await.expect("in time");
    assert_eq!(node.count("nice").await, 1);
    node.send(ATTACKER, &[b"poison"]).await;
    until("it is muted again at once", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    assert_eq!(node.info().muted[0].times, 2);
    assert_eq!(node.plugins.unmute(NAME, &peer(ATTACKER)).await.expect("it is loaded"), 1);
    assert!(node.muted().is_empty() && node.send(ATTACKER, &[b"nice"]).await);
    assert_eq!(node.info().state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_state_gets_no_honest_peer_muted() {
    let node = Node::start(policy()).await;
    let plant = [b"plant ", &peer(HONEST).as_bytes()[..8]].concat();
    assert!(node.send(ATTACKER, &[&plant]).await);
    for round in 1..=4 {
        assert!(node.send(HONEST, &[b"honest"]).await);
        assert!(node.send(ATTACKER, &[b"looks good"]).await);
        node.dropped(round).await;
        assert!(node.muted().is_empty(), "round {round}");
    }
    assert_eq!(node.count("looks good").await, 4);
    // What was planted is the plugin's own fault: it is the plugin that goes, and the letters tell why.
    node.send(HONEST, &[b"honest"]).await;
    node.is(PluginState::Quarantined).await;
    assert!(node.muted().is_empty());
    assert!(node.letters().iter().all(|letter| {
        letter.report.failure.panic.as_ref().is_some_and(|panic| panic.message.contains("the store is poisoned"))
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_poison_of_two_is_the_plugins_own_fault() {
    let node = Node::start(policy()).await;
    for (round, from) in [ATTACKER, HONEST, ATTACKER, HONEST, ATTACKER].into_iter().enumerate() {
        assert!(node.send(HONEST, &[b"fine"]).await && node.send(ATTACKER, &[b"fine"]).await);
        assert!(node.send(from, &[b"poison"]).await, "round {round}");
        node.dropped(round as u64 + 1).await;
    }
    node.is(PluginState::Quarantined).await;
    assert!(node.muted().is_empty());
}

/// A peer that is never muted, because its poison comes too seldom: here, because no number of them is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_takes_no_new_version_back() {
    let node = Node::start(patient()).await;
    node.plugins.upgrade(NAME, another()).await.expect("upgraded");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.count("fine").await, 1);
    for round in 1..=6 {
        assert!(node.send(ATTACKER, &[b"poison"]).await);
        node.dropped(round).await;
    }
    assert_eq!(node.count("fine").await, 1);
    let info = node.info();
    assert_eq!((info.counters.rollbacks, info.probation.map(|watched| watched.crashes)), (0, Some(1)));
    // What another peer runs into, too, is the new version's own fault.
    assert!(node.send(HONEST, &[b"poison"]).await);
    until("it went back", async || node.info().counters.rollbacks == 1).await.expect("in time");
    assert!(node.info().fell_back.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_called_abusive_is_muted() {
    let node = Node::start(policy()).await;
    assert!(node.send(ATTACKER, &[b"abuse" as &[u8]; 7]).await);
    assert_eq!(node.count("abuse").await, 7);
    assert!(node.muted().is_empty());
    assert!(node.send(ATTACKER, &[b"abuse"]).await);
    until("it is muted", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.info().counters.crashes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_survives_the_node_until_it_is_lifted() {
    let disk = MemoryDisk::default();
    let started = async || {
        let node = Node::on(&disk, policy());
        node.plugins.load(source()).await.expect("it loads");
        node.network.connect(peer(ATTACKER));
        node
    };
    let ended = async |node: Node| {
        node.plugins.shutdown(tokio::time::Instant::now() + PATIENCE).await;
        node.store.close().await.expect("closed");
    };
    let node = started().await;
    assert!(node.send(ATTACKER, &[b"abuse" as &[u8]; 8]).await);
    until("it is muted", async || node.muted() == [peer(ATTACKER)]).await.expect("in time");
    ended(node).await;

    let node = started().await;
    let muted = node.info().muted;
    assert_eq!((muted.len(), muted[0].peer, muted[0].times), (1, peer(ATTACKER), 1));
    assert_eq!(muted[0].reason, "called abusive by the plugin");
    assert!(muted[0].seconds_left <= 60 && !node.send(ATTACKER, &[b"nice"]).await);
    assert_eq!(node.plugins.unmute(NAME, &peer(ATTACKER)).await.expect("it is loaded"), 1);
    assert!(node.send(ATTACKER, &[b"nice"]).await);
    ended(node).await;

    let node = started().await;
    assert!(node.muted().is_empty() && node.send(ATTACKER, &[b"nice"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_survives_the_node_and_is_lifted_by_hand() {
    let disk = MemoryDisk::default();
    let node = Node::on(&disk, policy());
    node.plugins.load(source()).await.expect("it loads");
    let not = node.plugins.lift(NAME).await.expect_err("there is nothing to lift");
    assert_eq!(not.code(), "not-quarantined");
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    assert!(node.info().protocols.is_empty() && node.network.owner(&protocol()).is_none());
    let error = node.call("stats").await.expect_err("it is quarantined");
    assert_eq!(error.code(), "plugin-quarantined");
    let shown = json!(node.info());
    assert_eq!((&shown["state"], &shown["quarantine"]["times"]), (&json!("quarantined"), &json!(1)));
    node.plugins.shutdown(tokio::time::Instant::now() + PATIENCE).await;
    node.store.close().await.expect("closed");

    let node = Node::on(&disk, policy());
    let info = node.plugins.load(source()).await.expect("it loads, and is quarantined");
    assert_eq!(info.state, PluginState::Quarantined);
    assert!(info.last_error.is_some_and(|error| error.contains("that was poison")));
    assert_eq!(node.plugins.lift(NAME).await.expect("lifted").state, PluginState::Active);
    assert!(node.call("stats").await.is_ok() && node.info().quarantine.is_none());
    node.network.connect(peer(HONEST));
    assert!(node.send(HONEST, &[b"fine"]).await);
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    assert_eq!(node.info().quarantine.map(|quarantine| quarantine.times), Some(2));
    node.plugins.unload(NAME).await.expect("it is loaded");
    assert_eq!(node.plugins.load(source()).await.expect("it loads").state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_plugin_comes_back_by_itself() {
    let supervision = SupervisionPolicy { quarantine: Duration::from_millis(300), ..SupervisionPolicy::default() };
    let node = Node::start(PluginPolicy { supervision, ..policy() }).await;
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    node.is(PluginState::Active).await;
    until("it answers", async || node.call("stats").await.is_ok()).await.expect("in time");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.count("fine").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_ends_backoff_and_quarantine_and_loses_nothing_that_waits() {
    let supervision =
        SupervisionPolicy { backoff: PATIENCE * 10, longest_backoff: PATIENCE * 10, ..Default::default() };
    let node = Node::start(PluginPolicy { supervision, ..policy() }).await;
    for _ in 0..3 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::BackingOff).await;
    assert!(node.send(HONEST, &[b"fine", b"fine"]).await, "its messages wait");
    node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!((node.count("fine").await, node.info().state), (2, PluginState::Active));
    for _ in 0..2 {
        node.call("panic").await.expect_err("it panics");
    }
    // What the old revision did is not held against the new one: it would wait far longer than this test.
    node.is(PluginState::Active).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_lifts_a_quarantine() {
    let node = Node::start(policy()).await;
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!(node.info().quarantine, None);
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!((node.count("fine").await, node.info().state), (1, PluginState::Active));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_has_no_snapshot_did_not_crash() {
    let node = Node::start(policy()).await;
    let report = node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!(report.snapshot_skipped.as_deref(), Some("it returned the error `it has none`"));
    assert_eq!((&report.plugin.last_crash, &report.plugin.last_error), (&None, &None));
    assert_eq!((report.plugin.counters.crashes, report.plugin.counters.restarts), (0, 0));
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

/// On the wire: a muted peer's requests are refused with a code, and its messages come back as undelivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_peer_is_told() -> anyhow::Result<()> {
    let (node, attacker, honest) = (TestNode::start().await?, TestNode::start().await?, TestNode::start().await?);
    node.load(NAME).await?;
    let (id, to) = (protocol(), node.host.peer_id());
    let spec = || ProtocolSpec { id: protocol(), delivery: Delivery::Ordered, max_message: 1 << 16 };
    let mut inboxes = Vec::new();
    for client in [&attacker, &honest] {
        let (handler, inbox) = native(64);
        client.host.network().register(spec(), "test", handler)?;
        inboxes.push(inbox);
        client.connect(&node).await?;
        until("it is reached", async || client.host.network().lane(&to, &id).is_ok()).await?;
    }
    let muted = async || {
        let all = node.host.plugins().list();
        all.iter().any(|info| info.muted.iter().any(|muted| muted.peer == attacker.host.peer_id()))
    };
    until("the attacker is muted", async || {
        let _ = honest.host.network().send(&to, &id, "fine".into());
        let _ = attacker.host.network().send(&to, &id, "poison".into());
        muted().await
    })
    .await?;
    let refused = ask(&attacker, to, "anybody there?").await;
    assert!(matches!(&refused, Err(AskError::Refused(failure)) if failure.code == "muted"), "{refused:?}");
    assert_eq!(ask(&honest, to, "and you?").await, Ok("and you?".into()));
    attacker.host.network().send(&to, &id, "a message".into())?;
    let told = async {
        loop {
            match inboxes[0].next().await {
                Some(NativeEvent::News(News::Undelivered { messages, .. })) => return messages,
                Some(_) => {}
                None => return 0,
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, told).await? > 0, "what is not taken is told");
    assert!(muted().await);
    Ok(())
}

async fn ask(from: &TestNode, to: PeerId, body: &'static str) -> Result<Bytes, AskError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let network = from.host.network();
    let reply = Box::new(move |outcome| drop(sender.send(outcome)));
    let (id, timeout) = (network.next_ask(), Duration::from_secs(20));
    network.commit(&to, &protocol(), vec![Outgoing::Ask { id, timeout, body: body.into(), reply }]);
    receiver.await.expect("every ask has an outcome")
}
