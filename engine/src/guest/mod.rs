//! Guests: handlers' components in Wasmtime, called in instances that have seen nothing.
//!
//! Owns all that names Wasmtime: the engine and its pool, loading, contracts, limits, the pond of ready instances, calls. Knows
//! brokers only as the [`crate::port::Port`] that a guest's imports use.

mod call;
mod component;
mod contract;
mod handles;
pub(crate) mod host;
mod pond;
mod runtime;
mod wait;
mod wasi;

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::Linker;

pub use self::component::{Import, Inspection, Way, inspect};
pub use self::contract::Contract;
pub(crate) use self::runtime::machine_memory;

use self::call::{Calls, Suspended};
use self::component::Loaded;
use self::host::{Host, Profile};
use self::pond::{Pond, Taken};
use crate::batch::Batch;
use crate::config::{EngineConfig, ResetMode, Spread};
use crate::error::StartError;
use crate::limits::{HandlerLimits, MemorySum};
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::outbox::{GuestConfiguration, Outbox};
use crate::outcome::{Fault, FaultKind};
use crate::port::Unpark;
use crate::shard::{Ended, Guest, Started};

/// A linker of what guests may import.
type HostLinker = Linker<Host>;

/// The loaded components of an engine, shared by its shards.
pub(crate) struct Guests {
    engine: wasmtime::Engine,
    loaded: Vec<Loaded>,
    reset: ResetMode,
    ticks: Ticks,
}

/// How deadlines are counted in ticks of the epoch.
#[derive(Debug, Clone, Copy)]
struct Ticks(std::time::Duration);

impl Ticks {
    /// Ticks after which `deadline` has passed, wherever between two ticks it began.
    fn of(self, deadline: std::time::Duration) -> u64 {
        let ticks = deadline.as_nanos().div_ceil(self.0.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX / 2) + 1
    }
}

impl Guests {
    /// Builds the pool and loads every handler's component.
    pub(crate) fn load(config: &EngineConfig) -> Result<Self, StartError> {
        let reset = runtime::choose_reset(config.reset)?;
        let engine = runtime::engine(config, reset)?;
        let load = |handler| Loaded::load(&engine, handler);
        let loaded = config.handlers.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self {
            loaded,
            reset,
            ticks: Ticks(config.limits.tick),
            engine,
        })
    }

    /// The most memory that these handlers can need.
    pub(crate) fn memory(&self, config: &EngineConfig) -> MemorySum {
        let footprints: Vec<_> = self
            .loaded
            .iter()
            .zip(&config.handlers)
            .map(|(l, h)| l.footprint(h))
            .collect();
        MemorySum::new(&config.limits, config.shards, &footprints)
    }

    /// How used memory is reset.
    pub(crate) fn reset(&self) -> ResetMode {
        self.reset
    }

    /// Advances the epoch by one tick: the ticker thread's only act.
    pub(crate) fn tick(&self) {
        self.engine.increment_epoch();
    }

    /// Asks a handler's guest for its configuration, in an instance of its own. Waits for it, up to the handler's deadline.
    pub(crate) fn configure(
        &self,
        id: HandlerId,
        profile: Arc<Profile>,
    ) -> Result<GuestConfiguration, Fault> {
        let kind = Kind::new(&self.loaded[id.index()], profile, self.ticks);
        call::configure(&self.engine, &kind)
    }

    /// What one shard calls: a copy of every handler, and a pond for them.
    pub(crate) fn shard(
        &self,
        profiles: Vec<Arc<Profile>>,
        config: &EngineConfig,
        shell: Shell,
    ) -> ShardGuests {
        let kinds: Vec<_> = self
            .loaded
            .iter()
            .zip(profiles)
            .map(|(l, profile)| Kind::new(l, profile, self.ticks))
            .collect();
        let limits = &config.limits;
        let slots = limits.instances(config.shards) as usize / config.shards;
        let metrics = Arc::clone(&shell.metrics);
        let engine = self.engine.clone();
        let pond = Pond::new(
            engine,
            kinds.len(),
            limits.ready_instances_max,
            slots,
            metrics,
        );
        // In the order of a subject, a call that waits is not overtaken by the next.
        let each_max = if config.spread == Spread::Subject {
            1
        } else {
            usize::MAX
        };
        let calls = Calls::new(kinds.len(), limits.suspended_calls_max, each_max);
        ShardGuests {
            kinds,
            pond,
            calls,
            shell,
        }
    }
}

/// What a shard's guests need of the thread they run on.
pub(crate) struct Shell {
    /// Reads the clock.
    pub(crate) clock: fn() -> Instant,
    /// Wakes the shard.
    pub(crate) unpark: Arc<dyn Unpark>,
    /// Where instances are counted.
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// A handler on one shard: its component and what its instances share.
pub(crate) struct Kind {
    loaded: Loaded,
    profile: Arc<Profile>,
    ticks: Ticks,
}

impl Kind {
    fn new(loaded: &Loaded, profile: Arc<Profile>, ticks: Ticks) -> Self {
        Self {
            loaded: loaded.clone(),
            profile,
            ticks,
        }
    }

    /// Ticks of the epoch that a call may run.
    fn deadline_ticks(&self) -> u64 {
        self.ticks.of(self.profile.limits.deadline)
    }
}

/// All guests of one shard.
pub(crate) struct ShardGuests {
    kinds: Vec<Kind>,
    pond: Pond,
    calls: Calls,
    shell: Shell,
}

impl ShardGuests {
    /// Calls an instance that was taken from the pond.
    fn call(
        &mut self,
        id: HandlerId,
        batch: Arc<Batch>,
        outbox: Box<Outbox>,
        ready: pond::Ready,
        now: Instant,
    ) -> Started {
        let kind = &self.kinds[id.index()];
        if kind.loaded.way == Way::Fiber {
            self.calls.add(Suspended::new(
                id,
                kind,
                ready,
                batch,
                outbox,
                now,
                &self.shell.unpark,
            ));
            return match self.resume_one(self.calls.last(), now) {
                Some(ended) => Started::Ended(ended),
                None => Started::Suspended,
            };
        }
        let done = call::direct(kind, ready, &batch, outbox);
        self.pond.put_used(done.used);
        Started::Ended(Ended {
            handler: id,
            batch,
            outbox: done.outbox,
            result: done.result,
            at: (self.shell.clock)(),
        })
    }

    /// Polls one suspended call: its end, if it has come to it.
    fn resume_one(&mut self, index: usize, now: Instant) -> Option<Ended> {
        let ended = self.calls.poll(index, now, &mut self.pond);
        self.shell
            .metrics
            .calls_suspended
            .set(self.calls.len() as u64);
        let mut ended = ended?;
        ended.at = (self.shell.clock)();
        Some(ended)
    }
}

impl Guest for ShardGuests {
    fn start(
        &mut self,
        id: HandlerId,
        batch: Arc<Batch>,
        outbox: Box<Outbox>,
        now: Instant,
    ) -> Started {
        match self.pond.take(id, &self.kinds[id.index()]) {
            Taken::Ready(ready) => self.call(id, batch, outbox, ready, now),
            Taken::NoSlot => Started::NoSlot(batch, outbox),
            Taken::Failed(fault) => Started::Ended(Ended {
                handler: id,
                batch,
                outbox,
                result: Err(fault),
                at: (self.shell.clock)(),
            }),
        }
    }

    fn resume(&mut self, now: Instant) -> Option<Ended> {
        while let Some(index) = self.calls.next_due(now) {
            if let Some(ended) = self.resume_one(index, now) {
                return Some(ended);
            }
        }
        None
    }

    fn may_start(&self, id: HandlerId) -> bool {
        let kind = &self.kinds[id.index()];
        kind.loaded.way == Way::Direct
            || self.calls.room(id, kind.profile.limits.suspended_calls_max)
    }

    fn tend(&mut self, idle: bool) -> bool {
        self.pond.drop_used();
        idle && self.pond.refill(&self.kinds)
    }

    fn set_limits(&mut self, id: HandlerId, limits: &HandlerLimits) {
        let kind = &mut self.kinds[id.index()];
        let old = &*kind.profile;
        kind.profile = Arc::new(Profile {
            name: old.name.clone(),
            limits: limits.clone(),
            grants: old.grants.clone(),
            port: Arc::clone(&old.port),
            wasi: old.wasi,
        });
    }

    fn due(&self) -> Option<Instant> {
        self.calls.due()
    }
}

/// The fault that an error of Wasmtime is: `denied` says whether the instance was refused memory before.
fn fault(error: &wasmtime::Error, denied: bool) -> Fault {
    use wasmtime::Trap;
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Fault::new(FaultKind::Guest, format!("exited with status {}", exit.0));
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FaultKind::Deadline,
        Some(Trap::StackOverflow) => FaultKind::Stack,
        _ if denied => FaultKind::Memory,
        Some(_) => FaultKind::Trap,
        None => FaultKind::Host,
    };
    Fault::new(kind, format!("{error:#}"))
}

/// Whether WASI is imported by a loaded component: its instances then get a context.
impl Guests {
    /// Whether this handler's component imports WASI.
    pub(crate) fn has_wasi(&self, id: HandlerId) -> bool {
        self.loaded[id.index()].wasi
    }

    /// How this handler's component is called.
    pub(crate) fn way(&self, id: HandlerId) -> Way {
        self.loaded[id.index()].way
    }
}
