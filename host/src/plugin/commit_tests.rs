//! In which order a committed turn leaves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::peer::PeerId;
use crate::plugin::CodeOrigin;
use crate::plugin::calls::CallDesk;
use crate::plugin::home::Services;
use crate::plugin::info::{Counters, PluginInfo, PluginState};
use crate::plugin::mailbox::Mailbox;
use crate::plugin::store::{MemoryDisk, StagedWrites, Store, StoreLimits};
use crate::plugin::turn::Staged;
use crate::plugin::{PluginPolicy, Signer};
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
    fn cancel(&self, _: AskId) {}
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
    let policy = Arc::new(PluginPolicy::default());
    let mailbox = Arc::new(Mailbox::new(&policy));
    let services = Services {
        network,
        runtime: Runtime::system().expect("randomness"),
        policy: policy.clone(),
        signer: Arc::new(NoKey),
        store: Store::in_memory(&MemoryDisk::default()),
        desk: Arc::new(CallDesk::new(&policy)),
        logs: Arc::default(),
        started: tokio::time::Instant::now(),
    };
    let info = PluginInfo {
        name: "x".to_owned(),
        version: "0.1.0".to_owned(),
        description: String::new(),
        state: PluginState::Active,
        protocols: Vec::new(),
        revision: 1,
        grants: Vec::new(),
        durability: Durability::Relaxed,
        muted: Vec::new(),
        quarantine: None,
        code: CodeOrigin { cached: false, micros: 0, bytes: 0 },
        counters: Counters::default(),
        budgets: BTreeMap::new(),
        last_error: None,
        last_crash: None,
    };
    Arc::new(Home::new(services, policy, mailbox, info))
}

fn message(staged: &mut Staged, peer: u8) {
    let status = LaneStatus { room: 1_000, shared: 1_000_000, max_message: 1_000 };
    let look = || ("/a/1".parse().expect("an id"), Ok(status));
    let lane = staged.lane(PeerId::from_bytes([peer; 32]), 0, look);
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
