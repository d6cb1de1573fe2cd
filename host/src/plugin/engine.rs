//! The WebAssembly engine all plugins share: its configuration, where calls run, and how files are compiled.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::abi;
use super::compiler::Compiler;
use super::engine_config::{EngineConfig, configuration};
use super::imports;
use super::instance::InstanceState;
use super::limiter::Limited;
use super::meter::{Meter, Metered};
use super::ticker::Ticker;
use super::wasi::{self, Sandbox};
use super::{PluginError, PluginPolicy, Preemption, Signer};

/// Threads for calls that take long. They are niced, so more than one costs the network nothing.
const SLOW_THREADS: usize = 2;
/// Instructions between two yields when fuel is counted.
const FUEL_SLICE: u64 = 1_000_000;

/// A call into a plugin as a future of its own.
pub(super) type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// See the module. One for all plugins of a node.
pub(super) struct WasmEngine {
    engine: Engine,
    compiler: Compiler,
    preemption: Preemption,
    ticker: Option<Ticker>,
    slow: Option<SlowRuntime>,
    linker: Linker<InstanceState>,
    /// The same with WASI, made when the first plugin needs it.
    with_wasi: OnceLock<Linker<InstanceState>>,
}

impl WasmEngine {
    pub(super) fn new(
        preemption: Preemption,
        mut config: EngineConfig,
        signer: &dyn Signer,
    ) -> Result<Self, PluginError> {
        let failed = |reason: String| PluginError::Runtime { reason };
        let engine =
            Engine::new(&configuration(preemption, config.allocator)).map_err(|error| failed(format!("{error:#}")))?;
        if preemption == Preemption::Fuel {
            // Another process is not part of what can be repeated, and compiles for epochs.
            config.program = None;
        }
        let compiler = Compiler::new(&engine, config, signer);
        let mut linker = Linker::new(&engine);
        abi::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut InstanceState| state)
            .and_then(|()| imports::add_sends_to_linker(&mut linker))
            .map_err(|error| failed(format!("{error:#}")))?;
        let ticks = (preemption != Preemption::Fuel).then(|| Ticker::start(&engine));
        let ticker = ticks.transpose().map_err(|error| failed(error.to_string()))?;
        let slow = (preemption == Preemption::Epochs).then(SlowRuntime::start);
        let slow = slow.transpose().map_err(|error| failed(error.to_string()))?;
        Ok(Self { engine, compiler, preemption, ticker, slow, linker, with_wasi: OnceLock::new() })
    }

    /// Whether nothing may be left to other threads, because a run must be repeatable.
    pub(super) fn works_inline(&self) -> bool {
        self.preemption == Preemption::Fuel
    }

    /// Makes code of files.
    pub(super) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Joins a component with the real imports, and with WASI where it was granted.
    pub(super) fn link(
        &self,
        file: &str,
        component: &Component,
        wasi: bool,
    ) -> Result<InstancePre<InstanceState>, PluginError> {
        let linker = if wasi { self.with_wasi().map_err(|error| unlinkable(file, &error))? } else { &self.linker };
        linker.instantiate_pre(component).map_err(|error| unlinkable(file, &error))
    }

    fn with_wasi(&self) -> wasmtime::Result<&Linker<InstanceState>> {
        if let Some(linker) = self.with_wasi.get() {
            return Ok(linker);
        }
        let mut linker = self.linker.clone();
        wasi::add_to_linker(&mut linker)?;
        Ok(self.with_wasi.get_or_init(|| linker))
    }

    /// Whether a component imports anything of WASI.
    pub(super) fn imports_wasi(&self, component: &Component) -> bool {
        wasi::is_imported(&self.engine, component)
    }

    /// Joins a component with imports that all trap, but for WASI, which reaches nothing here: programs ask it for the
    /// time or a random number before they do anything.
    pub(super) fn link_sandbox(&self, file: &str, component: &Component) -> Result<InstancePre<Sandbox>, PluginError> {
        let mut linker = Linker::new(&self.engine);
        let link = |linker: &mut Linker<Sandbox>| {
            if self.imports_wasi(component) {
                wasi::link_with_traps(&self.engine, linker, component)?;
            } else {
                linker.define_unknown_imports_as_traps(component)?;
            }
            linker.instantiate_pre(component)
        };
        link(&mut linker).map_err(|error| unlinkable(file, &error))
    }

    /// A store whose memory is limited and whose ticks look at the meter.
    pub(super) fn store<T: Limited + Send + 'static>(&self, data: T, meter: &Arc<Meter>) -> Store<T> {
        let mut store = Store::new(&self.engine, data);
        store.limiter(|data| data.limiter());
        if self.preemption != Preemption::Fuel {
            let meter = meter.clone();
            store.epoch_deadline_callback(move |_| {
                meter.check()?;
                Ok(UpdateDeadline::Yield(1))
            });
        }
        store
    }

    /// Gives the next call its time.
    pub(super) fn refill<T>(
        &self,
        store: &mut Store<T>,
        meter: &Meter,
        budget: Duration,
        policy: &PluginPolicy,
    ) -> wasmtime::Result<()> {
        meter.begin(budget);
        match self.preemption {
            Preemption::Epochs | Preemption::EpochsInPlace => store.set_epoch_deadline(1),
            Preemption::Fuel => {
                let fuel = budget.as_secs_f64() * policy.fuel_per_second as f64;
                store.set_fuel(fuel as u64)?;
                store.fuel_async_yield_interval(Some(FUEL_SLICE))?;
            }
        }
        Ok(())
    }

    /// Runs a call: here until its first tick, and from then on on threads of its own, where it is in nobody's way.
    ///
    /// None when the runtime went away under it.
    pub(super) async fn run<T: Send + 'static>(&self, mut call: Call<T>, meter: &Arc<Meter>) -> Option<T> {
        let Some(ticker) = &self.ticker else { return Some(call.await) };
        let _running = ticker.running();
        let Some(slow) = &self.slow else { return Some(Metered::new(call, meter.clone()).await) };
        let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => {
                let task = slow.handle.spawn(Metered::new(call, meter.clone()));
                AbortOnDropHandle::new(task).await.ok()
            }
        }
    }
}

fn unlinkable(file: &str, error: &wasmtime::Error) -> PluginError {
    PluginError::Unlinkable { file: file.to_owned(), reason: format!("{error:#}") }
}

/// The second, niced runtime for turns that take long.
struct SlowRuntime {
    handle: Handle,
    runtime: Option<tokio::runtime::Runtime>,
}

impl SlowRuntime {
    fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(SLOW_THREADS).thread_name("weir-slow-turn").on_thread_start(super::cpu::be_nice);
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for SlowRuntime {
    fn drop(&mut self) {
        // A runtime that is dropped inside another one panics; this way it only stops.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
