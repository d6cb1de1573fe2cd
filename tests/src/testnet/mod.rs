//! Compiled plugins under `weir_sdk::testing::TestNet`: the runtime's own instances, with the kit's scheduler around them.
//!
//! A plugin's native code and its `.wasm` can so run the same scenario, and their traces can be compared entry by entry.
//! [`facts`] is what the host's imports are told, [`convert`] turns the types of one side into those of the other, [`news`]
//! is a plugin that uses all there is.

mod convert;
mod facts;
pub mod news;

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use tokio::runtime::{Builder, Runtime as Tokio};
use weir_host::plugin::harness::{Harness, HarnessInstance, HarnessRevision, Open, Outcome, Turn};
use weir_host::plugin::{CallFailure, PluginPolicy, PluginSettings, PluginSource};
use weir_host::runtime::Runtime;
use weir_sdk::abi::{Event, Init, Manifest, Range};
use weir_sdk::testing::{Fault, Imports, Network, Revision, Running, TestNet, TraceMode};

use self::facts::{KitClock, KitEntropy, KitKey, KitNetwork, enter};

/// Where compiled plugins are made, and the thread they run on.
pub struct Compiled {
    harness: Harness,
    tokio: Tokio,
}

impl Compiled {
    /// Sets up an engine with the limits that the kit has.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn new() -> Result<Rc<Self>> {
        let policy = PluginPolicy {
            store_bytes: 64 << 20,
            // Counted in instructions; how long a turn takes is not what is compared.
            fuel_per_second: 20_000_000_000,
            log_lines: u32::MAX,
            calls_per_second: u32::MAX,
            open_calls: u32::MAX,
            ..PluginPolicy::default()
        };
        let runtime = Runtime { clock: Arc::new(KitClock), entropy: Arc::new(KitEntropy) };
        let harness = Harness::start(Arc::new(KitNetwork), runtime, Arc::new(KitKey), policy)?;
        Ok(Rc::new(Self { harness, tokio: Builder::new_current_thread().enable_all().build()? }))
    }

    /// Compiles a file for as many nodes as want it.
    ///
    /// # Errors
    /// Why a node would not load it.
    pub fn revision(self: &Rc<Self>, bytes: Vec<u8>, grants: &[&str]) -> Result<Rc<dyn Revision>> {
        let grants = grants.iter().map(|&grant| grant.to_owned()).collect();
        let source =
            PluginSource { bytes, path: None, settings: PluginSettings { grants, ..PluginSettings::default() } };
        let revision = self.tokio.block_on(self.harness.revision(source))?;
        Ok(Rc::new(WasmRevision { compiled: self.clone(), revision }))
    }
}

struct WasmRevision {
    compiled: Rc<Compiled>,
    revision: HarnessRevision,
}

impl Revision for WasmRevision {
    fn manifest(&self) -> Manifest {
        convert::manifest(self.revision.manifest())
    }

    fn start(&self, init: Init, imports: &Imports) -> Result<Box<dyn Running>, Fault> {
        let _entered = enter(imports);
        let Compiled { harness, tokio } = &*self.compiled;
        let (init, open) = (convert::init(init), open(imports));
        let made = harness.instance(&self.revision, init, imports.now(), &open, entries(imports));
        let (instance, outcome) = tokio.block_on(made).map_err(fault)?;
        let wasm = WasmInstance { compiled: self.compiled.clone(), instance };
        wasm.stage(imports, outcome);
        Ok(Box::new(wasm))
    }
}

struct WasmInstance {
    compiled: Rc<Compiled>,
    instance: HarnessInstance,
}

impl Running for WasmInstance {
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8], imports: &Imports) -> Result<(), Fault> {
        let _entered = enter(imports);
        let turn = Turn {
            events: events.into_iter().map(convert::event).collect(),
            bodies: bodies.to_vec(),
            now_ms: imports.now(),
            open: open(imports),
        };
        let outcome = self.compiled.tokio.block_on(self.instance.handle(turn)).map_err(fault)?;
        self.stage(imports, outcome);
        Ok(())
    }

    fn snapshot(&mut self, imports: &Imports) -> Result<Vec<u8>, String> {
        let _entered = enter(imports);
        self.compiled.tokio.block_on(self.instance.snapshot()).map_err(|failure| failure.reason)?
    }
}

impl WasmInstance {
    /// Hands what the host accepted to the kit.
    ///
    /// # Panics
    /// When the kit would have refused it, or their stores are not of one size afterwards: then the two do not follow the same
    /// rules.
    fn stage(&self, imports: &Imports, outcome: Outcome) {
        for effect in outcome.effects {
            let shown = format!("{effect:?}");
            let staged = imports.stage(convert::effect(effect));
            staged.unwrap_or_else(|why| panic!("the host accepts {shown:.300} and the kit does not: {why}"));
        }
        for (peer, key) in outcome.refused {
            imports.wants_room(convert::to_sdk(peer), key);
        }
        assert_eq!(self.instance.used(), imports.used(), "bytes in the host's store and in the kit's");
    }
}

fn open(imports: &Imports) -> Open {
    Open { awaited: imports.awaited().into_iter().collect(), asking: imports.asking().into_iter().collect() }
}

/// All that is in the kit's store.
fn entries(imports: &Imports) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut start, mut all) = (Vec::new(), Vec::new());
    loop {
        let page = imports.scan(&Range { start, end: None, reverse: false }, u32::MAX, u32::MAX);
        all.extend(page.entries);
        match all.last().filter(|_| page.more) {
            // The least key behind the last one.
            Some((last, _)) => start = [last.as_slice(), &[0]].concat(),
            None => return all,
        }
    }
}

/// A failed call as the kit has it: the text without the host's words around it.
fn fault(failure: CallFailure) -> Fault {
    if let Some(panic) = failure.panic {
        return Fault { event: panic.event, message: panic.message };
    }
    let said = failure.reason.strip_prefix("it returned the error `").and_then(|rest| rest.strip_suffix('`'));
    Fault { event: None, message: said.unwrap_or(&failure.reason).to_owned() }
}

/// A plugin in both forms.
#[derive(Clone)]
pub struct Pair {
    /// Its code as the test has it.
    pub native: Rc<dyn Revision>,
    /// Its file.
    pub wasm: Rc<dyn Revision>,
    /// Its configuration as JSON.
    pub config: String,
}

/// Plays the same run with native code and with compiled code, and compares them: everything that plugins were told, in order
/// and at which moment, everything that they did, and their stores at the end. Returns the first.
///
/// All nodes have these plugins, in this order; the upgrades are the revisions 0, 1, … of [`weir_sdk::testing::Step`].
///
/// # Errors
/// When the runs are not the same: the first entry that differs, on both sides, or the first store.
pub fn both(
    network: &Network,
    plugins: &[Pair],
    upgrades: &[Pair],
    mut drive: impl FnMut(&mut TestNet),
) -> Result<TestNet> {
    let mut play = |form: fn(&Pair) -> &Rc<dyn Revision>| {
        let mut net = TestNet::new(network.clone());
        net.record(TraceMode::Full);
        for node in net.nodes() {
            for plugin in plugins {
                net.install_on(node, form(plugin).clone(), plugin.config.clone());
            }
        }
        for upgrade in upgrades {
            net.add_revision(form(upgrade).clone());
        }
        drive(&mut net);
        net
    };
    let (native, wasm) = (play(|pair| &pair.native), play(|pair| &pair.wasm));
    compare(&native, &wasm)?;
    Ok(native)
}

fn compare(native: &TestNet, wasm: &TestNet) -> Result<()> {
    if let Some(difference) = native.trace().difference(wasm.trace()) {
        bail!("native code (one) and compiled code (other) differ: {difference}");
    }
    ensure!(native.trace().digest() == wasm.trace().digest(), "the traces are equal and their digests are not");
    ensure!(native.totals() == wasm.totals(), "{:?} natively, {:?} compiled", native.totals(), wasm.totals());
    for node in native.nodes() {
        for plugin in 0..native.plugins(node) {
            let (ours, theirs) = (native.store(node, plugin), wasm.store(node, plugin));
            ensure!(ours == theirs, "the stores of plugin {plugin} on node {node} differ");
        }
    }
    ensure!(!native.trace().is_empty(), "nothing happened");
    Ok(())
}
