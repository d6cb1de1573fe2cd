//! The WebAssembly engine all plugins share: its configuration, where calls run, and how files are compiled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, Engine, Store, UpdateDeadline};

use super::abi;
use super::compiler::{Compiler, CompilerConfig};
use super::instance::InstanceState;
use super::limiter::{Limited, Limiter};
use super::meter::{Meter, Metered};
use super::ticker::Ticker;
use super::{PluginError, PluginPolicy, Preemption, Signer};

/// Deepest stack of a guest, in bytes. Recursion beyond it traps.
const GUEST_STACK: usize = 512 << 10;
/// Stack of the fiber a call runs on: the guest's and the host functions' it calls.
const FIBER_STACK: usize = 1 << 20;
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
}

/// How the engine is set up: the same in every process that compiles for it.
pub(super) fn configuration(preemption: Preemption) -> Config {
    let mut config = Config::new();
    config.concurrency_support(false).max_wasm_stack(GUEST_STACK).async_stack_size(FIBER_STACK);
    let fuel = preemption == Preemption::Fuel;
    config.epoch_interruption(!fuel).consume_fuel(fuel);
    config
}

impl WasmEngine {
    pub(super) fn new(
        preemption: Preemption,
        mut compiler: CompilerConfig,
        signer: &dyn Signer,
    ) -> Result<Self, PluginError> {
        let failed = |reason: String| PluginError::Runtime { reason };
        let engine = Engine::new(&configuration(preemption)).map_err(|error| failed(format!("{error:#}")))?;
        if preemption == Preemption::Fuel {
            // Another process is not part of what can be repeated, and compiles for epochs.
            compiler.program = None;
        }
        let compiler = Compiler::new(&engine, compiler, signer);
        let mut linker = Linker::new(&engine);
        abi::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut InstanceState| state)
            .map_err(|error| failed(format!("{error:#}")))?;
        let ticks = (preemption != Preemption::Fuel).then(|| Ticker::start(&engine));
        let ticker = ticks.transpose().map_err(|error| failed(error.to_string()))?;
        let slow = (preemption == Preemption::Epochs).then(SlowRuntime::start);
        let slow = slow.transpose().map_err(|error| failed(error.to_string()))?;
        Ok(Self { engine, compiler, preemption, ticker, slow, linker })
    }

    /// Whether nothing may be left to other threads, because a run must be repeatable.
    pub(super) fn works_inline(&self) -> bool {
        self.preemption == Preemption::Fuel
    }

    /// Makes code of files.
    pub(super) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Joins a component with the real imports.
    pub(super) fn link(&self, file: &str, component: &Component) -> Result<InstancePre<InstanceState>, PluginError> {
        self.linker.instantiate_pre(component).map_err(|error| unlinkable(file, &error))
    }

    /// Joins a component with imports that all trap.
    pub(super) fn link_sandbox(&self, file: &str, component: &Component) -> Result<InstancePre<Limiter>, PluginError> {
        let mut linker = Linker::new(&self.engine);
        linker.define_unknown_imports_as_traps(component).map_err(|error| unlinkable(file, &error))?;
        linker.instantiate_pre(component).map_err(|error| unlinkable(file, &error))
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
