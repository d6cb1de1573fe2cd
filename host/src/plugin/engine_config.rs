//! What the engine is told: who compiles, what is kept, and where memory comes from.

use std::path::PathBuf;
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::Preemption;
use super::cache::CacheConfig;

/// Deepest stack of a guest, in bytes. Recursion beyond it traps.
const GUEST_STACK: usize = 512 << 10;
/// Stack of the fiber a call runs on: the guest's and the host functions' it calls.
const FIBER_STACK: usize = 1 << 20;
/// Parts of an instance that pools provide for: what tools make has fewer.
const PARTS: u32 = 8;
/// What the description of one such part takes, in bytes.
const PART: usize = 1 << 20;
/// Elements of one table.
const TABLE: usize = 32_768;

/// How plugins are compiled, and where their memory comes from.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// A program that compiles when it is started with the arguments `compile-plugin --cpu SECONDS --memory BYTES`: the
    /// `weir` binary of the same build does. Compiling then has limits of time and memory, and what is wrong with the
    /// compiler is wrong in another process. None compiles in this process, with the limits on what is compiled only.
    pub program: Option<PathBuf>,
    /// CPU time that the program may take, on all its threads together. A Python interpreter of 18 MB takes about a
    /// minute.
    pub time: Duration,
    /// Address space that the program may take, in bytes.
    pub memory: u64,
    /// Where compiled code is kept; None compiles at every load.
    pub cache: Option<CacheConfig>,
    /// Where memories and tables come from.
    pub allocator: Allocator,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            program: None,
            time: Duration::from_secs(120),
            memory: 4 << 30,
            cache: None,
            allocator: Allocator::OnDemand,
        }
    }
}

/// Where the memories and tables of instances come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocator {
    /// From the operating system, for each instance. Nothing is kept for those that might come, and a plugin may have as
    /// much memory as its own budget says.
    #[default]
    OnDemand,
    /// From pools that are reserved at the start: all instances have the same bounds, whatever their budgets say.
    Pooling {
        /// Instances at once.
        instances: u32,
        /// Most memory of one, in bytes.
        memory: usize,
    },
}

impl Allocator {
    fn strategy(self) -> InstanceAllocationStrategy {
        let Self::Pooling { instances, memory } = self else { return InstanceAllocationStrategy::OnDemand };
        let mut pools = PoolingAllocationConfig::new();
        // While one revision takes the place of another, both live; and each is asked what it is before.
        let instances = instances.saturating_add(2);
        let parts = instances.saturating_mul(PARTS);
        pools.total_component_instances(instances).total_core_instances(parts).total_stacks(instances);
        pools.total_memories(instances.saturating_mul(2)).total_tables(parts);
        pools.max_core_instances_per_component(PARTS).max_memories_per_component(2).max_tables_per_component(PARTS);
        pools.max_memory_size(memory).table_elements(TABLE);
        pools.max_component_instance_size(PART).max_core_instance_size(PART);
        InstanceAllocationStrategy::Pooling(pools)
    }
}

/// How the engine is set up: the same in every process that compiles for it.
pub(super) fn configuration(preemption: Preemption, allocator: Allocator) -> Config {
    let mut config = Config::new();
    config.concurrency_support(false).max_wasm_stack(GUEST_STACK).async_stack_size(FIBER_STACK);
    let fuel = preemption == Preemption::Fuel;
    config.epoch_interruption(!fuel).consume_fuel(fuel);
    config.allocation_strategy(allocator.strategy());
    config
}
