//! Revisions and instances by themselves, for a test kit that brings a scheduler of its own. Not part of a node.
//!
//! What runs is the runtime's: the compiled code, the instance, its imports, what a turn stages, the store it reads. What is
//! left out is the actor around it: when a turn is taken, and what becomes of its effects, is up to the kit. Facts that imports
//! decide by come from the kit's [`Network`] and [`Runtime`], which may be asked at any moment of a call and are asked on the
//! thread of the call only.

mod effect;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::effect::Effect;
pub use super::abi::exports::weir::plugin::handler::{Cause, Init, Limits, Manifest, Predecessor};
pub use super::abi::weir::plugin::{net::Verdict, types};

use super::calls::{CallDesk, Submission, Waiter};
use super::crash::{CallFailure, CrashKind};
use super::engine::WasmEngine;
use super::home::{Home, Services};
use super::info::PluginInfo;
use super::instance::{About, Instance, TurnInput};
use super::lifecycle::{Archive, Shelf};
use super::mailbox::{Caller, Mailbox};
use super::revision::{PluginSource, Revision};
use super::store::{Durability, MemoryDisk, Store, WriteBatch};
use super::trust::{Digest, Identity, Trust};
use super::{EngineConfig, PluginError, PluginPolicy, Preemption, Signer};
use crate::peer::PeerId;
use crate::protocol::{AskId, Network, RequestToken};
use crate::runtime::Runtime;

/// Makes revisions and their instances. Calls are counted in instructions and run where they are made, so that the same calls
/// have the same outcome.
pub struct Harness {
    engine: Arc<WasmEngine>,
    network: Arc<dyn Network>,
    runtime: Runtime,
    signer: Arc<dyn Signer>,
    policy: Arc<PluginPolicy>,
}

/// A file that was compiled, described and checked.
#[derive(Clone)]
pub struct HarnessRevision(Arc<Revision>);

/// One instance with a store in memory that is its own.
pub struct HarnessInstance {
    /// None after a failed call.
    instance: Option<Instance>,
    home: Arc<Home>,
    /// Commands that the desk knows.
    commands: BTreeSet<u64>,
}

/// What is open on the side of the kit when a turn begins.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// Requests and commands that somebody waits for.
    pub awaited: BTreeSet<u64>,
    /// Asks and calls without an outcome.
    pub asking: BTreeSet<u64>,
}

/// What a turn is given.
#[derive(Debug)]
pub struct Turn {
    /// The batch.
    pub events: Vec<types::Event>,
    /// The bodies of its events.
    pub bodies: Vec<u8>,
    /// The date, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What is open.
    pub open: Open,
}

/// What a turn staged. Its writes are committed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In order.
    pub effects: Vec<Effect>,
    /// Lanes, by peer and key, on which a send was refused as busy.
    pub refused: Vec<(PeerId, u32)>,
}

impl Harness {
    /// Sets up an engine.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn start(
        network: Arc<dyn Network>,
        runtime: Runtime,
        signer: Arc<dyn Signer>,
        policy: PluginPolicy,
    ) -> Result<Self, PluginError> {
        let engine = Arc::new(WasmEngine::new(Preemption::Fuel, EngineConfig::default(), &*signer)?);
        Ok(Self { engine, network, runtime, signer, policy: Arc::new(policy) })
    }

    /// Compiles and checks a file.
    ///
    /// # Errors
    /// Why a node would not load it.
    pub async fn revision(&self, source: PluginSource) -> Result<HarnessRevision, PluginError> {
        let digest = Digest::of(&source.bytes);
        let identity = Identity { digest, signer: None, pinned: false, signature: None };
        let named = |_: &str, settings| Ok(settings);
        let revision = Revision::prepare(&self.engine, &self.policy, source, named, 1, identity).await?;
        Ok(HarnessRevision(Arc::new(revision)))
    }

    /// Starts an instance on a store that holds these entries.
    ///
    /// # Errors
    /// When it cannot be made, or its `start` failed.
    pub async fn instance(
        &self,
        revision: &HarnessRevision,
        init: Init,
        now_ms: u64,
        open: &Open,
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(HarnessInstance, Outcome), CallFailure> {
        let HarnessRevision(revision) = revision;
        let home = self.home(revision);
        let mut batch = WriteBatch::default();
        entries.into_iter().for_each(|(key, value)| batch.put(key, value));
        commit(&home, batch).await?;
        let mut lone = HarnessInstance { instance: None, home, commands: BTreeSet::new() };
        lone.sync(open);
        let instance = Instance::create(&self.engine, &lone.home, revision, now_ms).await?;
        let (instance, started) = instance.start(init).await;
        started?;
        let outcome = lone.finish(instance).await?;
        Ok((lone, outcome))
    }

    fn home(&self, revision: &Revision) -> Arc<Home> {
        let store = Store::in_memory(&MemoryDisk::default());
        let services = Services {
            network: self.network.clone(),
            runtime: self.runtime.clone(),
            policy: self.policy.clone(),
            signer: self.signer.clone(),
            desk: Arc::new(CallDesk::numbered_by(self.network.clone())),
            archive: Arc::new(Archive::new(&store, Trust::default(), Shelf::new(None))),
            store,
            logs: Arc::default(),
            started: Instant::now(),
        };
        let mailbox = Arc::new(Mailbox::new(&self.policy));
        services.desk.enter(&revision.manifest.name, mailbox.clone());
        let info = PluginInfo::named(&revision.manifest.name);
        Arc::new(Home::new(services, self.policy.clone(), mailbox, info))
    }
}

impl HarnessRevision {
    /// What `describe` returned, as far as a node keeps it.
    pub fn manifest(&self) -> Manifest {
        effect::manifest(&self.0.manifest)
    }
}

impl HarnessInstance {
    /// One turn.
    ///
    /// # Errors
    /// How it failed. The instance is gone then.
    pub async fn handle(&mut self, turn: Turn) -> Result<Outcome, CallFailure> {
        let instance = self.instance.take().ok_or_else(gone)?;
        self.sync(&turn.open);
        let Turn { events, bodies, now_ms: now, .. } = turn;
        let input = TurnInput { events, bodies, now, replay: false, about: About::default(), part: false };
        let ((instance, outcome), _, _) = instance.handle(input).await;
        outcome?;
        self.finish(instance).await
    }

    /// What `snapshot` returns; an error in words where it says that it has none.
    ///
    /// # Errors
    /// How the call failed. The instance is gone then.
    pub async fn snapshot(&mut self) -> Result<Result<Vec<u8>, String>, CallFailure> {
        let (instance, outcome) = self.instance.take().ok_or_else(gone)?.snapshot().await;
        self.instance = instance;
        outcome
    }

    /// Bytes of keys and values in its store.
    pub fn used(&self) -> u64 {
        self.home.namespace.used()
    }

    /// Makes the ledger and the desk say what is open for the kit.
    fn sync(&mut self, open: &Open) {
        let desk = &self.home.services.desk;
        for id in open.awaited.difference(&self.commands) {
            // Nobody listens: who waits for the answer is the kit's.
            let (nobody, _) = oneshot::channel();
            let what = Submission {
                plugin: self.home.name.clone(),
                caller: Caller::Operator(String::new()),
                limits: None,
                name: String::new(),
                timeout_ms: u32::MAX,
                body: Bytes::new(),
            };
            desk.submit(*id, what, Waiter::Operator(nobody));
            self.home.mailbox.take();
        }
        for id in self.commands.difference(&open.awaited) {
            desk.withdraw(*id);
            self.home.mailbox.take();
        }
        self.commands.clone_from(&open.awaited);
        let mut ledger = self.home.ledger();
        ledger.requests = open.awaited.iter().map(|id| RequestToken(*id)).collect();
        ledger.commands.clone_from(&open.awaited);
        ledger.asks = open.asking.iter().map(|id| AskId(*id)).collect();
    }

    /// Takes out what the turn staged, and commits its writes.
    async fn finish(&mut self, instance: Option<Instance>) -> Result<Outcome, CallFailure> {
        let mut instance = instance.ok_or_else(gone)?;
        let (writes, outcome) = effect::take(instance.state_mut());
        commit(&self.home, writes).await?;
        self.instance = Some(instance);
        Ok(outcome)
    }
}

async fn commit(home: &Home, writes: WriteBatch) -> Result<(), CallFailure> {
    let committed = home.namespace.commit(writes, Durability::Relaxed).await;
    committed.map(drop).map_err(|error| CallFailure::new(CrashKind::Commit, error.to_string()))
}

fn gone() -> CallFailure {
    CallFailure::new(CrashKind::Trap, "the instance is gone: an earlier call failed")
}
