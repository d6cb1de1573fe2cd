//! One instance of a revision: its wasmtime store, its state on the host's side, and the calls into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use wasmtime::{Store, Trap, WasmBacktrace};

use super::PluginPolicy;
use super::abi::{self, types};
use super::crash::{CallFailure, CrashKind, PanicNote};
use super::engine::WasmEngine;
use super::grants::Grants;
use super::home::{Home, add};
use super::limiter::{Limited, Limiter};
use super::mailbox::Batch;
use super::meter::{Meter, TimedOut};
use super::revision::Revision;
use super::store::{Durability, Namespace, StagedWrites, StoreLimits};
use super::turn::Staged;
use super::wasi::Wasi;
use crate::peer::PeerId;
use crate::protocol::{ProtocolId, ProtocolSpec};

/// Functions of a backtrace that are kept.
const MAX_FRAMES: usize = 16;
/// Bytes of a function's name that are kept.
const MAX_NAME: usize = 256;

/// What the imports work on.
pub(super) struct InstanceState {
    pub(super) home: Arc<Home>,
    /// The budgets of the revision, which during an upgrade are not those of the plugin yet.
    pub(super) policy: Arc<PluginPolicy>,
    pub(super) grants: Grants,
    /// By key, as of the last commit.
    pub(super) protocols: BTreeMap<u32, ProtocolSpec>,
    pub(super) staged: Staged,
    /// Milliseconds since the Unix epoch, the same for the whole turn.
    pub(super) now: u64,
    pub(super) panic: Option<PanicNote>,
    /// Tags the log lines of a turn that is run again.
    pub(super) replay: bool,
    /// The number of the revision, and what it handles now: for its log lines.
    pub(super) revision: u64,
    pub(super) about: About,
    /// When what a turn stages may leave.
    pub(super) durability: Durability,
    /// All that the turn rests on is on the disk: of the plugin's own turns, and of others' that it heard of.
    pub(super) settled: bool,
    /// A trial beside the running instance: nothing it does counts, or is seen.
    pub(super) aside: bool,
    /// The key of the last signature that was checked.
    pub(super) last_key: Option<VerifyingKey>,
    /// Made when the plugin first uses it.
    pub(super) wasi: Option<Box<Wasi>>,
    limiter: Limiter,
}

impl Limited for InstanceState {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl InstanceState {
    /// Turns the instance into one for a trial: what it reads is this namespace, and nobody hears of it.
    pub(super) fn set_aside(&mut self, namespace: Namespace) {
        self.aside = true;
        self.staged.writes = self.staged.writes.elsewhere(namespace);
    }

    /// The protocol behind a key, as this turn sees it.
    pub(super) fn protocol(&self, key: u32) -> Option<&ProtocolSpec> {
        match self.staged.key(key) {
            Some(staged) => staged.as_ref(),
            None => self.protocols.get(&key),
        }
    }

    /// All protocols as this turn sees them.
    pub(super) fn all_protocols(&self) -> impl Iterator<Item = (u32, &ProtocolSpec)> {
        let base = self.protocols.iter().filter(|(key, _)| self.staged.key(**key).is_none());
        let staged = self.staged.keys().iter().filter_map(|(key, spec)| Some((key, spec.as_ref()?)));
        base.chain(staged).map(|(key, spec)| (*key, spec))
    }

    /// The key of a protocol, as of the last commit.
    pub(super) fn key(&self, id: &ProtocolId) -> Option<u32> {
        self.protocols.iter().find(|(_, spec)| spec.id == *id).map(|(key, _)| *key)
    }
}

/// See the module. After any failure it must be dropped: its memory may be ahead of the store.
pub(super) struct Instance {
    store: Store<InstanceState>,
    plugin: abi::Plugin,
    meter: Arc<Meter>,
    engine: Arc<WasmEngine>,
}

/// What a call handles, as far as that is one thing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    pub(super) event: Option<&'static str>,
    pub(super) peer: Option<PeerId>,
}

impl About {
    fn call(event: &'static str) -> Self {
        Self { event: Some(event), peer: None }
    }

    /// The only event of a batch. Of many the host does not know which one a line is about.
    pub(super) fn batch(batch: &Batch) -> Self {
        match batch.items.as_slice() {
            [item] => Self { event: Some(item.kind()), peer: batch.peer(item) },
            _ => Self::default(),
        }
    }
}

/// What one `handle` is given, and where the moment comes from.
pub(super) struct TurnInput {
    pub(super) events: Vec<types::Event>,
    pub(super) bodies: Vec<u8>,
    pub(super) now: u64,
    pub(super) replay: bool,
    pub(super) about: About,
    /// A part of a failed batch. If it fails, too, it is only divided further, so it need not use up a whole turn's time
    /// for that.
    pub(super) part: bool,
}

/// A part of a failed batch gets this part of a turn's time: far more than a batch that goes well takes.
const TIME_OF_A_PART: u32 = 8;

/// A call's outcome, with the instance if it can be used again or looked at.
pub(super) type Outcome<T> = (Option<Instance>, Result<T, CallFailure>);

impl Instance {
    /// Makes an instance. Nothing of the plugin but its initialisers has run then.
    pub(super) async fn create(
        engine: &Arc<WasmEngine>,
        home: &Arc<Home>,
        revision: &Arc<Revision>,
        now: u64,
    ) -> Result<Self, CallFailure> {
        let policy = &*revision.policy;
        let meter = Arc::new(Meter::default());
        let mut store = engine.store(state(home, revision, now), &meter);
        store.set_hostcall_fuel(policy.host_call);
        engine
            .refill(&mut store, &meter, policy.start_time, policy)
            .map_err(|e| failure(Failed::Call(e), None, None))?;
        let (of_call, of_instance, revision) = (engine.clone(), meter.clone(), revision.clone());
        let call = async move {
            let made = revision.pre.instantiate_async(&mut store).await;
            store.data_mut().show_printed();
            match made {
                Ok(plugin) => Ok(Self { store, plugin, meter: of_instance, engine: of_call }),
                Err(error) => {
                    Err(failure(Failed::Call(error), store.data_mut().panic.take(), store.data().limiter.refused))
                }
            }
        };
        engine.run(Box::pin(call), &meter).await.unwrap_or_else(|| Err(stopped()))
    }

    pub(super) fn state(&self) -> &InstanceState {
        self.store.data()
    }

    pub(super) fn state_mut(&mut self) -> &mut InstanceState {
        self.store.data_mut()
    }

    /// Calls `start`. What it staged waits in the state.
    pub(super) async fn start(mut self, init: abi::Init) -> Outcome<()> {
        self.state_mut().about = About::call("start");
        let budget = self.state().policy.start_time;
        self.call(budget, move |store, plugin| {
            Box::pin(async move { plugin.weir_plugin_handler().call_start(store, &init).await })
        })
        .await
    }

    /// Calls `handle`. What it staged waits in the state. The batch comes back to be replayed or used again.
    pub(super) async fn handle(mut self, input: TurnInput) -> (Outcome<()>, Vec<types::Event>, Vec<u8>) {
        let TurnInput { events, bodies, now, replay, about, part } = input;
        let budget = self.state().policy.turn_time / if part { TIME_OF_A_PART } else { 1 };
        let state = self.store.data_mut();
        (state.now, state.replay, state.about) = (now, replay, about);
        let shared = Arc::new((events, bodies));
        let of_call = shared.clone();
        let outcome = self
            .call(budget, move |store, plugin| {
                Box::pin(async move { plugin.weir_plugin_handler().call_handle(store, &of_call.0, &of_call.1).await })
            })
            .await;
        let (events, bodies) = Arc::try_unwrap(shared).unwrap_or_else(|shared| (Vec::new(), shared.1.clone()));
        (outcome, events, bodies)
    }

    /// Calls `snapshot`. It may stage nothing; what it staged is forgotten. That it returns an error is an answer like any
    /// other: it has none to give, and goes on as it was.
    pub(super) async fn snapshot(mut self) -> Outcome<Result<Vec<u8>, String>> {
        self.state_mut().about = About::call("snapshot");
        let policy = self.state().policy.clone();
        let budget = policy.turn_time;
        // One byte more than may be carried over, so that what is larger is told by its size.
        self.store.set_hostcall_fuel(policy.host_call.max(policy.snapshot.saturating_add(1)));
        let (mut instance, outcome) = self
            .call(budget, |store, plugin| {
                Box::pin(async move { plugin.weir_plugin_handler().call_snapshot(store).await.map(Ok) })
            })
            .await;
        if let Some(instance) = &mut instance {
            instance.state_mut().staged.keep(0);
            instance.store.set_hostcall_fuel(policy.host_call);
        }
        (instance, outcome.map(|answer| answer.map_err(said)))
    }

    async fn call<T: Send + 'static>(
        mut self,
        budget: Duration,
        call: impl for<'a> FnOnce(&'a mut Store<InstanceState>, &'a abi::Plugin) -> GuestCall<'a, T> + Send + 'static,
    ) -> Outcome<T> {
        let (home, policy, aside) = (self.state().home.clone(), self.state().policy.clone(), self.state().aside);
        let (engine, meter) = (self.engine.clone(), self.meter.clone());
        if let Err(error) = engine.refill(&mut self.store, &meter, budget, &policy) {
            return (Some(self), Err(failure(Failed::Call(error), None, None)));
        }
        let run = async move {
            let outcome = call(&mut self.store, &self.plugin).await;
            let outcome = match outcome {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(text)) => Err(Failed::Said(text)),
                Err(error) => Err(Failed::Call(error)),
            };
            let state = self.store.data_mut();
            state.show_printed();
            let refused = state.limiter.refused.take();
            let panic = state.panic.take();
            (Some(self), outcome.map_err(|failed| failure(failed, panic, refused)))
        };
        let outcome = engine.run(Box::pin(run), &meter).await;
        let (instance, outcome) = outcome.unwrap_or_else(|| (None, Err(stopped())));
        if let Some(instance) = instance.as_ref().filter(|_| !aside) {
            let used = instance.state().limiter.used_memory() as u64;
            home.counts.memory.store(used, std::sync::atomic::Ordering::Relaxed);
        }
        if meter.was_slow() {
            add(&home.counts.slow_turns, 1);
        }
        if outcome.is_err() && !aside {
            add(&home.counts.crashes, 1);
        }
        (instance, outcome)
    }
}

/// A call into the guest that returns what the WIT says: a result or a text.
type GuestCall<'a, T> = std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<Result<T, String>>> + Send + 'a>>;

fn state(home: &Arc<Home>, revision: &Revision, now: u64) -> InstanceState {
    let policy = &revision.policy;
    let limits = StoreLimits {
        max_key: policy.store_key as usize,
        max_value: policy.store_value as usize,
        quota: policy.store_bytes,
        max_turn: policy.turn_writes,
    };
    let writes = StagedWrites::new(home.namespace.clone(), limits);
    InstanceState {
        grants: revision.grants.clone(),
        protocols: revision.manifest.protocols.iter().map(|p| (p.key, p.spec.clone())).collect(),
        staged: Staged::new(policy.turn_effects, policy.turn_bytes, writes),
        now,
        panic: None,
        replay: false,
        revision: revision.number,
        about: About::call("instantiation"),
        durability: revision.durability,
        settled: false,
        aside: false,
        last_key: None,
        wasi: None,
        limiter: Limiter::new(policy),
        policy: policy.clone(),
        home: home.clone(),
    }
}

/// How a call into a guest failed.
pub(super) enum Failed {
    /// It returned this error.
    Said(String),
    /// It did not return, or what it returned cannot be read.
    Call(wasmtime::Error),
}

/// Puts a failure into words.
pub(super) fn failure(failed: Failed, panic: Option<PanicNote>, refused_memory: Option<u64>) -> CallFailure {
    let (kind, reason, backtrace) = match failed {
        Failed::Said(text) => (CrashKind::Error, said(text), Vec::new()),
        Failed::Call(error) => {
            let backtrace = error.downcast_ref::<WasmBacktrace>();
            let frames = backtrace.map(frames).unwrap_or_default();
            let (kind, reason) = kind(&error, backtrace.is_some());
            (kind, reason, frames)
        }
    };
    CallFailure { kind, reason, panic: panic.map(Box::new), refused_memory, backtrace }
}

/// An error that the guest returned, in words.
fn said(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(4_096));
    format!("it returned the error `{text}`")
}

fn kind(error: &wasmtime::Error, in_guest: bool) -> (CrashKind, String) {
    if let Some(timed_out) = error.downcast_ref::<TimedOut>() {
        return (CrashKind::Timeout, timed_out.to_string());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => (CrashKind::Timeout, "it used up its instructions without an end".to_owned()),
        Some(trap) => (CrashKind::Trap, trap.to_string()),
        None if in_guest => (CrashKind::Trap, error.root_cause().to_string()),
        None => (CrashKind::BadResult, format!("what it returned cannot be read: {error:#}")),
    }
}

/// The functions, innermost first, as readable as the file's names allow. The file says how long these are.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| {
        let symbol = frame.symbols().first().and_then(|symbol| symbol.name()).map(str::to_owned);
        let known = symbol.or_else(|| frame.func_name().map(readable));
        cut(known.unwrap_or_else(|| format!("function {}", frame.func_index())))
    };
    backtrace.frames().iter().take(MAX_FRAMES).map(name).collect()
}

/// A name that is no longer than somebody reads.
fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME));
    name
}

/// A mangled Rust name without its hash; other names as they are.
fn readable(mangled: &str) -> String {
    let Some(mut rest) = mangled.strip_prefix("_ZN") else { return mangled.to_owned() };
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0) {
        let Some(part) = rest[..digits].parse().ok().and_then(|len: usize| rest[digits..].get(..len)) else { break };
        rest = &rest[digits + part.len()..];
        parts.push(part);
    }
    let hash = parts.last().is_some_and(|last| last.len() == 17 && last.starts_with('h'));
    parts.truncate(parts.len() - usize::from(hash));
    if parts.is_empty() { mangled.to_owned() } else { parts.join("::") }
}

fn stopped() -> CallFailure {
    CallFailure::new(CrashKind::Trap, "the call was cut off: the node is stopping, or a host function panicked")
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, cut, readable};

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(cut("handle".to_owned()), "handle");
        assert_eq!(cut(format!("x{}", "ä".repeat(50_000))), format!("x{}", "ä".repeat(MAX_NAME / 2 - 1)));
    }

    #[test]
    fn mangled_names_become_paths() {
        assert_eq!(readable("_ZN4ping6handle17h0123456789abcdefE"), "ping::handle");
        assert_eq!(readable("handle"), "handle");
        assert_eq!(readable("_ZN99xE"), "_ZN99xE");
    }
}
