//! WASI 0.2 for plugins that were granted it: enough for programs that cannot do without, and nothing to reach by it.
//!
//! No folder is preopened, there is no network, no environment and no argument. What is printed goes to the plugin's log,
//! through its budget. Dates and random numbers are the node's own, so a simulation stays repeatable. And nothing waits:
//! a turn that would is ended, because it would hold up the plugin's mailbox; a plugin that wants to be called later sets a
//! timer.

mod output;
mod waiting;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::TryRng;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use self::output::{Output, Printed};
use super::abi::weir::plugin::log::{Host, Level};
use super::home::{Home, Services, add};
use super::instance::InstanceState;
use super::limiter::{Limited, Limiter};
use crate::runtime::Entropy;

/// The capability that links these imports.
pub(super) const CAPABILITY: &str = "wasi";
/// Most bytes one call draws from the random numbers.
const MAX_RANDOM: u64 = 1 << 16;
/// Most things of WASI that an instance may hold: streams, clocks, errors, networks that lead nowhere.
const MAX_RESOURCES: usize = 256;

/// What an instance has of WASI.
pub(super) struct Wasi {
    /// Never locked: the mutex only makes what may be used by one thread at a time something that all may point to.
    parts: Mutex<Parts>,
    printed: Printed,
}

struct Parts {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    /// With the clock and the random numbers of the node.
    pub(super) fn of_node(services: &Services) -> Self {
        let (runtime, started) = (services.runtime.clone(), services.started);
        let now = {
            let clock = runtime.clock.clone();
            move || Duration::from_millis(clock.unix_ms())
        };
        Self::new(Box::new(now), Box::new(move || started.elapsed()), Some(runtime.entropy))
    }

    /// For whoever is only asked what it is: time stands still, and all random numbers are zero.
    pub(super) fn inert() -> Self {
        Self::new(Box::new(|| Duration::ZERO), Box::new(|| Duration::ZERO), None)
    }

    fn new(wall: Stand, passed: Stand, entropy: Option<Arc<dyn Entropy>>) -> Self {
        let printed = Printed::default();
        let seed =
            entropy.as_ref().map_or(0, |entropy| u128::from(entropy.number()) << 64 | u128::from(entropy.number()));
        let mut ctx = WasiCtxBuilder::new();
        ctx.stdout(Output::new(&printed, Level::Info)).stderr(Output::new(&printed, Level::Warn));
        ctx.wall_clock(Wall(wall)).monotonic_clock(Passed(passed));
        ctx.secure_random(Random(entropy.clone())).insecure_random(Random(entropy)).insecure_random_seed(seed);
        ctx.max_random_size(MAX_RANDOM);
        // So that no socket is even made, which would be a file handle of the node's.
        ctx.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self { parts: Mutex::new(Parts { ctx: ctx.build(), table }), printed }
    }

    fn view(&mut self) -> WasiCtxView<'_> {
        let Parts { ctx, table } = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        WasiCtxView { ctx, table }
    }
}

/// A clock.
type Stand = Box<dyn Fn() -> Duration + Send>;

struct Wall(Stand);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        (self.0)()
    }
}

struct Passed(Stand);

impl HostMonotonicClock for Passed {
    /// As the plugin's own stopwatch: too coarse to watch a cache.
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        u64::try_from((self.0)().as_micros()).unwrap_or(u64::MAX / 1_000) * 1_000
    }
}

/// The node's random numbers, or zeros.
struct Random(Option<Arc<dyn Entropy>>);

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The lower half is as random as the whole.
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.as_ref().map_or(0, |entropy| entropy.number()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match &self.0 {
            Some(entropy) => entropy.fill(bytes),
            None => bytes.fill(0),
        }
        Ok(())
    }
}

/// Whether a component imports anything of WASI.
pub(super) fn is_imported(engine: &Engine, component: &Component) -> bool {
    component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:"))
}

/// Joins a component with WASI, and with traps in the place of everything else that it imports.
///
/// wasmtime's own way to define traps does not see that another patch version of WASI is there.
pub(super) fn link_with_traps(
    engine: &Engine,
    linker: &mut Linker<Sandbox>,
    component: &Component,
) -> wasmtime::Result<()> {
    add_to_linker(linker)?;
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if interface.starts_with("wasi:") {
            continue;
        }
        let mut traps = linker.instance(interface)?;
        for (function, _) in instance.exports(engine).filter(|(_, of)| matches!(of.ty, ComponentItem::ComponentFunc(_)))
        {
            let called = format!("{interface}#{function}");
            traps.func_new(function, move |_, _, _, _| {
                Err(wasmtime::format_err!("unknown import: `{called}` has not been defined"))
            })?;
        }
    }
    Ok(())
}

/// Joins everything of WASI 0.2 with a linker.
pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    waiting::refuse(linker)
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let home: &Arc<Home> = &self.home;
        self.wasi.get_or_insert_with(|| Box::new(Wasi::of_node(&home.services))).view()
    }
}

impl InstanceState {
    /// Puts what was printed during a call into the log.
    pub(super) fn show_printed(&mut self) {
        let Some(printed) = self.wasi.as_ref().map(|wasi| wasi.printed.take()) else { return };
        add(&self.home.counts.log_lines_dropped, printed.dropped);
        for (level, text) in printed.lines {
            let target = if level == Level::Info { "stdout" } else { "stderr" };
            // The log traps for nothing.
            let _ = self.write(level, target.to_owned(), text);
        }
    }
}

/// What runs while a plugin is only asked what it is.
pub(super) struct Sandbox {
    pub(super) limiter: Limiter,
    wasi: Wasi,
}

impl Sandbox {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { limiter, wasi: Wasi::inert() }
    }
}

impl Limited for Sandbox {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.view()
    }
}
