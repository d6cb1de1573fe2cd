//! In which order a committed turn leaves, and what of it happens when the disk does not have it.

use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::peer::PeerId;
use crate::plugin::calls::CallDesk;
use crate::plugin::home::Services;
use crate::plugin::info::PluginInfo;
use crate::plugin::lifecycle::{Archive, Shelf};
use crate::plugin::mailbox::Mailbox;
use crate::plugin::store::{MemoryDisk, StagedWrites, Store, StoreLimits};
use crate::plugin::{PluginPolicy, Signer, Trust};
use crate::protocol::{LaneStatus, Network, Reachable, RegisterError, RequestToken, SendError};
use crate::runtime::Runtime;
use crate::wire::Failure;

/// Writes down what leaves.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn note(&self, what: String) {
        self.0.lock().expect("not poisoned").push(what);
    }
}

impl Network for Recorder {
    fn node(&self) -> PeerId {
        PeerId::from_bytes([9; 32])
    }
    fn lane(&self, _: &PeerId, _: &ProtocolId) -> Result<LaneStatus, SendError> {
        Ok(LaneStatus { room: 1_000, shared: 1_000_000, max_message: 1_000 })
    }
    fn commit(&self, to: &PeerId, _: &ProtocolId, what: Vec<Outgoing>) {
        self.note(format!("{} to {}", what.len(), to.as_bytes()[0]));
    }
    fn wants_room(&self, _: &PeerId, _: &ProtocolId) {}
    fn settled<'a>(&'a self, _: &'a ProtocolId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
    fn next_ask(&self) -> AskId {
        AskId(0)
    }
    fn cancel(&self, ask: AskId) {
        self.note(format!("cancel {}", ask.0));
    }
    fn awaits(&self, _: RequestToken) -> bool {
        true
    }
    fn respond(&self, request: RequestToken, _: Result<Bytes, Failure>) -> bool {
        self.note(format!("answer {}", request.0));
        true
    }
    fn register(&self, _: ProtocolSpec, _: &str, _: Arc<dyn Handler>) -> Result<(), RegisterError> {
        Err(RegisterError::Closed)
    }
    fn replace(&self, _: &ProtocolId, _: &str, _: Arc<dyn Handler>) -> Result<(), RegisterError> {
        Err(RegisterError::Closed)
    }
    fn unregister(&self, _: &ProtocolId) {}
    fn reachable(&self, _: &ProtocolId) -> Vec<Reachable> {
        Vec::new()
    }
    fn owner(&self, _: &ProtocolId) -> Option<String> {
        None
    }
}

struct NoKey;

impl Signer for NoKey {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }
}

fn home(network: Arc<Recorder>) -> Arc<Home> {
    home_on(&MemoryDisk::default(), network)
}

fn home_on(disk: &MemoryDisk, network: Arc<Recorder>) -> Arc<Home> {
    let policy = Arc::new(PluginPolicy::default());
    let mailbox = Arc::new(Mailbox::new(&policy));
    let store = Store::in_memory(disk);
    let services = Services {
        network,
        archive: Arc::new(Archive::new(&store, Trust::default(), Shelf::default())),
        runtime: Runtime::system().expect("randomness"),
        policy: policy.clone(),
        signer: Arc::new(NoKey),
        store,
        desk: Arc::new(CallDesk::new()),
        logs: Arc::default(),
        started: tokio::time::Instant::now(),
    };
    Arc::new(Home::new(services, policy, mailbox, PluginInfo::named("x")))
}

fn message(staged: &mut Staged, peer: u8) {
    let status = LaneStatus { room: 1_000, shared: 1_000_000, max_message: 1_000 };
    let look = || ("/a/1".parse().expect("an id"), Ok(status));
    let lane = staged.lanes.position(PeerId::from_bytes([peer; 32]), 0, look);
    staged.push(Effect::Message { lane, body: Bytes::from_static(b"m") }).expect("fits");
}

fn answer(staged: &mut Staged, token: u64) {
    staged.push(Effect::Respond { token: RequestToken(token), outcome: Ok(Bytes::new()) }).expect("fits");
}

#[tokio::test]
async fn what_was_sent_before_an_answer_leaves_before_it() {
    let network = Arc::new(Recorder::default());
    let home = home(network.clone());
    let mut staged = Staged::new(99, 1_000, StagedWrites::new(home.namespace.clone(), StoreLimits::default()));
    for peer in [2, 1, 2] {
        message(&mut staged, peer);
    }
    answer(&mut staged, 7);
    answer(&mut staged, 8);
    for peer in [1, 1] {
        message(&mut staged, peer);
    }
    let commit = staged.take();
    let writes = home.namespace.commit(staged.writes.take(), Durability::Relaxed);
    let ticket = tokio::time::timeout(Duration::from_secs(60), writes).await.expect("in time").expect("committed");
    let mut registered = Registered::new();
    let mut leaving = Leaving::new(&home, &mut registered, &ticket, &commit);
    for effect in commit.effects {
        leaving.carry_out(effect, &commit.lanes);
    }
    leaving.flush(&commit.lanes);
    let left = network.0.lock().expect("not poisoned").clone();
    assert_eq!(left, ["2 to 2", "1 to 1", "answer 7", "answer 8", "2 to 1"]);
}

/// A timer and an ask that are there before the turn.
const BEFORE: (u64, AskId) = (1, AskId(1));

/// All that an effect may leave behind: what went out, and what the plugin has of timers, asks, calls and commands.
fn traces(home: &Home, network: &Recorder) -> String {
    let (left, ledger) = (network.0.lock().expect("not poisoned"), home.ledger());
    let timers: Vec<_> = (0..9).filter(|id| ledger.timers.contains(*id)).collect();
    let (calls, commands) = (ledger.calls.keys().collect::<Vec<_>>(), &ledger.commands);
    format!("{left:?}, timers {timers:?}, asks {:?}, calls {calls:?}, commands {commands:?}", ledger.asks)
}

/// What one effect did in a turn whose write the disk never gets.
async fn without_the_disk(durability: Durability, effect: Effect) -> (bool, String, String) {
    let (disk, network) = (MemoryDisk::default(), Arc::new(Recorder::default()));
    let home = home_on(&disk, network.clone());
    {
        let mut ledger = home.ledger();
        ledger.timers.set(BEFORE.0, Duration::from_secs(60), Instant::now());
        ledger.asks.insert(BEFORE.1);
        ledger.commands.insert(1);
    }
    let before = traces(&home, &network);
    let mut staged = Staged::new(99, 1_000, StagedWrites::new(home.namespace.clone(), StoreLimits::default()));
    let status = LaneStatus { room: 1_000, shared: 1_000_000, max_message: 1_000 };
    staged.lanes.position(PeerId::from_bytes([2; 32]), 0, || ("/a/1".parse().expect("an id"), Ok(status)));
    let mark = staged.writes.mark();
    staged.writes.put(b"k".to_vec(), b"v".to_vec()).expect("staged");
    staged.push(Effect::Write(mark)).expect("fits");
    staged.push(effect).expect("fits");
    disk.fail_next_commit();
    let (mut settled, mut registered) = (false, Registered::new());
    let committing = commit_staged(&home, &mut staged, (durability, &mut settled), &mut registered);
    let outcome = tokio::time::timeout(Duration::from_secs(60), committing).await.expect("in time");
    (outcome.is_ok(), before, traces(&home, &network))
}

#[tokio::test]
async fn no_effect_of_a_strict_turn_happens_before_the_disk_has_its_writes() {
    let second = Duration::from_secs(1);
    let effects: [fn(Duration) -> Effect; 8] = [
        |_| Effect::Message { lane: 0, body: Bytes::from_static(b"m") },
        |timeout| Effect::Ask { lane: 0, id: AskId(7), timeout, body: Bytes::from_static(b"q") },
        |_| Effect::Cancel(BEFORE.1),
        |_| Effect::Respond { token: RequestToken(7), outcome: Ok(Bytes::new()) },
        |after| Effect::TimerSet { id: 7, after, before: None },
        |_| Effect::TimerCancel { id: BEFORE.0, before: None },
        |timeout| Effect::Call {
            id: 7,
            plugin: "other".to_owned(),
            name: "any".to_owned(),
            timeout,
            body: Bytes::new(),
        },
        |_| Effect::Answer { command: 1, outcome: Ok(Bytes::new()) },
    ];
    for effect in effects {
        let (committed, before, after) = without_the_disk(Durability::Strict, effect(second)).await;
        assert_eq!((committed, &after), (false, &before), "{:?}", effect(second));
        // An answer makes the disk hurry, whatever the plugin is; everything else of a relaxed turn happens at once.
        if !matches!(effect(second), Effect::Answer { .. }) {
            let (committed, before, after) = without_the_disk(Durability::Relaxed, effect(second)).await;
            assert!(committed && after != before, "{:?} leaves a trace: {after}", effect(second));
        }
    }
}
