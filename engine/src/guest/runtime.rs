//! Wasmtime's engine and pool, set up from the limits; and how used memory is reset here.

use std::fs;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::{EngineConfig, ResetMode};
use crate::error::StartError;
use crate::limits::HandlerLimits;

/// Virtual memory of a slot: the whole of what 32 bits address.
const SLOT_BYTES: usize = 1 << 32;

/// Builds the engine with its pool: reset as `reset` says, slots for `config`'s limits.
pub(crate) fn engine(config: &EngineConfig, reset: ResetMode) -> Result<Engine, StartError> {
    let limits = &config.limits;
    let mut wasmtime = Config::new();
    wasmtime
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, reset)))
        .memory_init_cow(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.fiber_stack_bytes());
    if !config.guard_pages {
        wasmtime.signals_based_traps(false).memory_guard_size(0);
    }
    Engine::new(&wasmtime).map_err(|error| StartError::System {
        what: "the pool of instances",
        detail: format!("{error:#}"),
    })
}

fn pool(config: &EngineConfig, reset: ResetMode) -> PoolingAllocationConfig {
    let (limits, shards) = (&config.limits, config.shards);
    let instances = limits.instances(shards);
    let elements = config.handlers.iter().map(|h| h.limits.table_elements_max);
    let elements = elements
        .max()
        .unwrap_or(HandlerLimits::default().table_elements_max);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .max_core_instances_per_component(limits.core_instances_max)
        .total_core_instances(instances.saturating_mul(limits.core_instances_max))
        .max_memories_per_component(limits.memories_max)
        .total_memories(instances.saturating_mul(limits.memories_max))
        .max_memories_per_module(limits.memories_max)
        .max_tables_per_component(limits.tables_max)
        .total_tables(instances.saturating_mul(limits.tables_max))
        .max_tables_per_module(limits.tables_max)
        .table_elements(elements.max(1))
        .total_stacks(limits.stacks(shards))
        .max_memory_size(SLOT_BYTES)
        .max_unused_warm_slots(instances)
        .async_stack_keep_resident(limits.stack_bytes_max.min(64 << 10));
    let (scan, resident) = match reset {
        ResetMode::PagemapScan => (Enabled::Yes, true),
        ResetMode::Copy => (Enabled::No, true),
        ResetMode::Madvise => (Enabled::No, false),
    };
    pool.pagemap_scan(scan);
    if resident {
        pool.linear_memory_keep_resident(limits.memory_resident_bytes)
            .table_keep_resident(limits.table_resident_bytes);
    }
    pool
}

/// The reset that is used: the one asked for, or the fastest that is safe on this machine.
///
/// # Errors
/// One was asked for that can't be used here, with the reason.
pub(crate) fn choose_reset(asked: Option<ResetMode>) -> Result<ResetMode, StartError> {
    let refused = scan_refused(
        PoolingAllocationConfig::is_pagemap_scan_available(),
        &swaps(),
    );
    match (asked, refused) {
        (Some(ResetMode::PagemapScan), Some(why)) => Err(StartError::Config(format!(
            "reset mode pagemap-scan can't be used here: {why}; leave it unset, or use copy or madvise"
        ))),
        (Some(asked), _) => Ok(asked),
        (None, None) => Ok(ResetMode::PagemapScan),
        (None, Some(why)) => {
            tracing::warn!("used memory is reset by copy, not by pagemap-scan: {why}");
            Ok(ResetMode::Copy)
        }
    }
}

/// Why the page map can't be used, if it can't: `swaps` is the text of `/proc/swaps`.
fn scan_refused(available: bool, swaps: &str) -> Option<&'static str> {
    if !available {
        return Some("the kernel has no PAGEMAP_SCAN (Linux 6.7 has)");
    }
    (swaps.lines().count() > 1)
        .then_some("swap is active, and a page that was swapped out would not be reset")
}

/// `/proc/swaps`: a header, then a line a swap area. One that can't be read counts as active.
fn swaps() -> String {
    fs::read_to_string("/proc/swaps").unwrap_or_else(|_| "header\nunknown".into())
}

/// Bytes of memory that this process may use: the machine's, or its control group's limit where that is lower.
pub(crate) fn machine_memory() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let total = read("/proc/meminfo").lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()
    });
    let group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let group = group
        .into_iter()
        .filter_map(|path| read(path).trim().parse::<u64>().ok())
        .min();
    let total = total.map_or(u64::MAX, |kib| kib << 10);
    group.map_or(total, |group| group.min(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_is_refused_without_the_kernel_or_with_swap() {
        let header = "Filename\tType\tSize\tUsed\tPriority\n";
        assert_eq!(scan_refused(true, header), None);
        assert!(scan_refused(false, header).is_some_and(|why| why.contains("PAGEMAP_SCAN")));
        let swap = format!("{header}/dev/sda2 partition 1 0 -2\n");
        assert!(scan_refused(true, &swap).is_some_and(|why| why.contains("swap")));
    }

    #[test]
    fn machine_has_memory() {
        assert!(machine_memory() > 1 << 26);
    }
}
