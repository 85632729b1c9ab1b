//! The ways to allocate instances that are compared.

use millpond::{EngineLimits, ResetMode};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime::{Result, ensure};

use super::setting::Setting;

/// How instances are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// Each when it is made: Wasmtime's default.
    OnDemand,
    /// From Wasmtime's pool with its default settings.
    PoolDefaults,
    /// From the pool as the engine sets it for one shard, reset in this way.
    Ours(ResetMode),
    /// The same with one setting otherwise.
    Varied(ResetMode, Setting),
}

impl Allocator {
    /// All that are measured, whether available here or not.
    pub const ALL: [Self; 5] = [
        Self::OnDemand,
        Self::PoolDefaults,
        Self::Ours(ResetMode::PagemapScan),
        Self::Ours(ResetMode::Copy),
        Self::Ours(ResetMode::Madvise),
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::PoolDefaults => "pool-defaults",
            Self::Ours(reset) => reset.name(),
            Self::Varied(_, setting) => setting.name(),
        }
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        let reset = match self {
            Self::OnDemand | Self::PoolDefaults => None,
            Self::Ours(reset) | Self::Varied(reset, _) => Some(reset),
        };
        reset != Some(ResetMode::PagemapScan)
            || PoolingAllocationConfig::is_pagemap_scan_available()
    }

    /// A Wasmtime engine with it.
    pub(crate) fn engine(self) -> Result<Engine> {
        ensure!(self.is_available(), "{} is not available here", self.name());
        let mut config = Config::new();
        match self {
            Self::OnDemand => {}
            Self::PoolDefaults => {
                config.allocation_strategy(PoolingAllocationConfig::new());
            }
            Self::Ours(reset) => ours(&mut config, reset, None),
            Self::Varied(reset, setting) => ours(&mut config, reset, Some(setting)),
        }
        Engine::new(&config)
    }
}

/// The settings of `engine/src/guest/runtime.rs` for one shard with default limits.
fn ours(config: &mut Config, reset: ResetMode, varied: Option<Setting>) {
    let limits = EngineLimits::default();
    let shards = 1;
    let a_shard = limits.ready_instances_max + limits.suspended_calls_max + 2;
    let instances = (shards * a_shard + 1) as u32;
    let stacks = (shards * (limits.suspended_calls_max + 1) + 1) as u32;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .max_core_instances_per_component(limits.core_instances_max)
        .total_core_instances(instances * limits.core_instances_max)
        .max_memories_per_component(limits.memories_max)
        .total_memories(instances * limits.memories_max)
        .max_memories_per_module(limits.memories_max)
        .max_tables_per_component(limits.tables_max)
        .total_tables(instances * limits.tables_max)
        .max_tables_per_module(limits.tables_max)
        .total_stacks(stacks)
        .max_memory_size(1 << 32)
        .max_unused_warm_slots(instances)
        .async_stack_keep_resident(64 << 10);
    pool.pagemap_scan(match reset {
        ResetMode::PagemapScan => Enabled::Yes,
        ResetMode::Copy | ResetMode::Madvise => Enabled::No,
    });
    if reset != ResetMode::Madvise {
        pool.linear_memory_keep_resident(limits.memory_resident_bytes)
            .table_keep_resident(limits.table_resident_bytes);
    }
    config
        .memory_init_cow(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .signals_based_traps(false)
        .memory_guard_size(0)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.stack_bytes_max + (1 << 20));
    if let Some(setting) = varied {
        setting.make(config, &mut pool);
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
}
