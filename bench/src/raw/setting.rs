//! Settings of Wasmtime that the engine could make otherwise, one at a time.

use wasmtime::{Config, Inlining, OptLevel, PoolingAllocationConfig};

/// One of them, other than the engine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The compiler inlines functions.
    Inlining,
    /// It optimises nothing.
    OptLevelNone,
    /// It optimises for size too.
    OptLevelSize,
    /// A trap has no backtrace.
    NoBacktrace,
    /// Code has no map of its addresses.
    NoAddressMap,
    /// Code has no unwind information.
    NoUnwindInfo,
    /// Tables are filled when an instance is made.
    EagerTables,
    /// A tenth of the elements a table.
    SmallTables,
    /// A sixteenth of the bytes an instance.
    SmallInstances,
    /// Memory's bounds are kept by guard pages and signals, not by checks in the code.
    GuardPages,
    /// Memory is filled when an instance is made, not mapped.
    NoCopyOnWrite,
    /// Code does not look at the epoch: no call can be ended.
    NoEpoch,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Inlining,
        Self::OptLevelNone,
        Self::OptLevelSize,
        Self::NoBacktrace,
        Self::NoAddressMap,
        Self::NoUnwindInfo,
        Self::EagerTables,
        Self::SmallTables,
        Self::SmallInstances,
        Self::GuardPages,
        Self::NoCopyOnWrite,
        Self::NoEpoch,
    ];

    /// How Wasmtime calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inlining => "compiler_inlining: yes",
            Self::OptLevelNone => "cranelift_opt_level: none",
            Self::OptLevelSize => "cranelift_opt_level: speed and size",
            Self::NoBacktrace => "wasm_backtrace_max_frames: none",
            Self::NoAddressMap => "generate_address_map: false",
            Self::NoUnwindInfo => "native_unwind_info: false",
            Self::EagerTables => "table_lazy_init: false",
            Self::SmallTables => "table_elements: 2,000 for 20,000",
            Self::SmallInstances => "max_core_instance_size: 64 KiB for 1 MiB",
            Self::GuardPages => "guard pages for checks in the code",
            Self::NoCopyOnWrite => "memory_init_cow: false",
            Self::NoEpoch => "epoch_interruption: false",
        }
    }

    /// Makes it, after all others are made.
    pub(super) fn make(self, config: &mut Config, pool: &mut PoolingAllocationConfig) {
        match self {
            Self::Inlining => config.compiler_inlining(Inlining::Yes),
            Self::OptLevelNone => config.cranelift_opt_level(OptLevel::None),
            Self::OptLevelSize => config.cranelift_opt_level(OptLevel::SpeedAndSize),
            Self::NoBacktrace => config.wasm_backtrace_max_frames(None),
            Self::NoAddressMap => config.generate_address_map(false),
            Self::NoUnwindInfo => config.native_unwind_info(false),
            Self::EagerTables => config.table_lazy_init(false),
            Self::SmallTables => {
                pool.table_elements(2_000);
                config
            }
            Self::SmallInstances => {
                pool.max_core_instance_size(64 << 10);
                config
            }
            Self::GuardPages => config.signals_based_traps(true).memory_guard_size(32 << 20),
            Self::NoCopyOnWrite => config.memory_init_cow(false),
            Self::NoEpoch => config.epoch_interruption(false),
        };
    }
}
